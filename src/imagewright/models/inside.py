"""What happens inside a network: its first kernels, its feature maps, and where it looks.

A network is as it was afterwards: in its mode, without gradients and hooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["FeatureMaps", "feature_maps", "first_kernels", "grad_cam"]

Floats = npt.NDArray[np.float32]

_TIMES = "\N{MULTIPLICATION SIGN}"
# Maps of fewer pixels a side say little about where.
_SIDE = 4


class FeatureMaps(NamedTuple):
    """What a step of a network made of an image.

    Attributes:
        name: of the step, such as "block 1: convolution 3×3".
        shape: (channels, h, w).
        maps: float32, of that shape.
    """

    name: str
    shape: tuple[int, int, int]
    maps: Floats


def first_kernels(network: nn.Module, input_shape: Sequence[int]) -> Floats | None:
    """Weights of the first convolution, (filters, h, w, C), or of a first dense layer, (units, H, W, C).

    Args:
        network: takes images, (B, C, H, W).
        input_shape: (C, H, W).

    Returns:
        the weights; None if the first of these layers does not see the pixels.
    """
    layer = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)), None)
    if layer is None:
        return None
    weight = layer.weight.detach().float().cpu()
    if isinstance(layer, nn.Linear):
        if layer.in_features != math.prod(input_shape):
            return None
        weight = weight.view(-1, *input_shape)
    kernels: Floats = weight.permute(0, 2, 3, 1).numpy().copy()
    return kernels


def feature_maps(network: nn.Module, image: Tensor) -> list[FeatureMaps]:
    """The outputs of each convolution and pooling, and of the activation at the end of each block.

    Args:
        network: takes images, uint8 (B, C, H, W).
        image: uint8 (1, C, H, W).

    Returns:
        one for each step, in the order of the network; none for one without maps.
    """
    found: list[tuple[str, FeatureMaps]] = []

    def keep(path: str, layer: nn.Module, output: Tensor) -> None:
        if output.ndim == 4 and (words := _words(layer)):
            block, place = _place(path)
            # An activation is the end of a block unless another step of it follows.
            if found and found[-1][0] == block and _is_activation(found[-1][1]):
                del found[-1]
            maps = output[0].detach().float().cpu().numpy().copy()
            found.append((block, FeatureMaps(f"{place}: {words}" if place else words, maps.shape, maps)))

    with _at_rest(network), torch.no_grad(), _watched(network, keep):
        network(image)
    return [maps for _, maps in found]
