"""Arithmetic of image sizes through convolutions and poolings, without torch.

Sizes are (height, width) in pixels. The formula is that of ``torch.nn.Conv2d`` and ``torch.nn.MaxPool2d`` without
dilation: ``floor((size + padding - kernel_size) / stride) + 1``, where ``padding`` counts both sides together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from imagewright.errors import ConfigError

__all__ = ["Padding", "Size", "cnn_sizes", "convolved", "pooled"]

Size = tuple[int, int]
Padding = int | Literal["same", "valid"]


def convolved(size: Size, kernel_size: int, stride: int, padding: Padding) -> Size:
    """Size after a convolution; a side without room for the kernel gives 0 or less."""
    if padding == "same":
        return -(-size[0] // stride), -(-size[1] // stride)
    both_sides = 0 if padding == "valid" else 2 * int(padding)
    height, width = ((side + both_sides - kernel_size) // stride + 1 for side in size)
    return height, width


def pooled(size: Size, pool_size: int) -> Size:
    """Size after a pooling of non-overlapping windows of ``pool_size`` × ``pool_size`` pixels."""
    return size[0] // pool_size, size[1] // pool_size


def cnn_sizes(
    image_size: Size,
    channels: Sequence[int],
    kernel_size: int,
    stride: int,
    padding: Padding,
    pooling: str,
    pool_size: int,
) -> list[Size]:
    """Size after each block of a :class:`imagewright.models.cnn.CNN`.

    Raises:
        ConfigError: a layer is left without a pixel; names the layer, what it got and what it would give.
    """
    if padding == "same" and stride > 1 and kernel_size % 2 == 0:
        raise ConfigError(
            f"model.padding: 'same' needs an odd model.kernel_size when model.stride is above 1, got kernel_size "
            f"{kernel_size} with stride {stride}; choose an odd kernel or give the padding as a number of pixels"
        )
    sizes: list[Size] = []
    size = image_size
    for block in range(1, len(channels) + 1):
        size = _left(
            size,
            convolved(size, kernel_size, stride, padding),
            f"the convolution of block {block} (kernel_size {kernel_size}, stride {stride}, padding {padding})",
        )
        if pooling != "none":
            size = _left(size, pooled(size, pool_size), f"the pooling of block {block} (model.pool_size {pool_size})")
        sizes.append(size)
    return sizes


def _left(before: Size, after: Size, layer: str) -> Size:
    """``after``, if it still has a pixel."""
    if min(after) < 1:
        raise ConfigError(
            f"model: {layer} leaves no pixels: it gets {before[0]}x{before[1]} and would give "
            f"{max(after[0], 0)}x{max(after[1], 0)}; use fewer blocks, a smaller kernel, stride or pool, more padding, "
            f"or larger images (data.image_size)"
        )
    return after
