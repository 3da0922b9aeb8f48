"""Image sizes, compared with what torch's own layers give."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import nn

from imagewright.errors import ConfigError
from imagewright.models.cnn import CNN
from imagewright.shapes import Padding, Size, cnn_sizes, convolved, pooled

# Square and rectangular, odd and even, and down to a single pixel.
SIZES: list[Size] = [(1, 1), (2, 3), (5, 4), (7, 7), (8, 8), (9, 16), (28, 21)]


def size_after(layer: nn.Module, size: Size) -> Size | None:
    """What the layer gives, or None where it refuses the size."""
    try:
        height, width = layer(torch.zeros(1, 1, *size)).shape[2:]
    except RuntimeError:
        return None
    return height, width


def cnn(
    image_size: Size, channels: list[int], kernel_size: int, stride: int, padding: Padding, pooling: str, pool_size: int
) -> CNN:
    return CNN(
        (1, *image_size),
        2,
        channels=channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        pooling=pooling,
        pool_size=pool_size,
        batch_norm=False,
        activation="relu",
        head="flatten",
        hidden_units=[],
        dropout=0.0,
    )


@pytest.mark.parametrize("padding", ["valid", 0, 1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 7])
def test_a_convolution_has_the_size_of_torchs(kernel_size: int, stride: int, padding: Padding) -> None:
    layer = nn.Conv2d(1, 1, kernel_size, stride, padding)
    for size in SIZES:
        given = convolved(size, kernel_size, stride, padding)
        assert (given if min(given) > 0 else None) == size_after(layer, size), size


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5, 7])
def test_same_padding_with_stride_1_has_the_size_of_torchs(kernel_size: int) -> None:
    layer = nn.Conv2d(1, 1, kernel_size, padding="same")
    for size in SIZES:
        assert convolved(size, kernel_size, 1, "same") == size_after(layer, size) == size


@pytest.mark.parametrize("pool_size", [1, 2, 3, 5])
@pytest.mark.parametrize("layer", [nn.MaxPool2d, nn.AvgPool2d])
def test_a_pooling_has_the_size_of_torchs(layer: type[nn.MaxPool2d | nn.AvgPool2d], pool_size: int) -> None:
    for size in SIZES:
        given = pooled(size, pool_size)
        assert (given if min(given) > 0 else None) == size_after(layer(pool_size), size), size


@pytest.mark.parametrize("padding", ["same", "valid", 1])
@pytest.mark.parametrize(("pooling", "pool_size"), [("max", 2), ("average", 3), ("none", 2)])
@pytest.mark.parametrize("channels", [[2], [2, 3], [2, 3, 2]])
def test_the_blocks_of_the_network_have_the_sizes_that_were_computed(
    channels: list[int], pooling: str, pool_size: int, padding: Padding
) -> None:
    fitting = 0
    for kernel_size, stride, size in product([1, 3, 5], [1, 2, 3], [(8, 8), (9, 16), (28, 21), (64, 83)]):
        geometry = (size, channels, kernel_size, stride, padding, pooling, pool_size)
        try:
            sizes = cnn_sizes(*geometry)
        except ConfigError:
            continue
        images = torch.zeros(1, 1, *size)
        given = []
        for block in cnn(*geometry).blocks:
            images = block(images)
            given.append(tuple(images.shape[2:]))
        assert sizes == given, geometry
        fitting += 1
    assert fitting >= 2


@pytest.mark.parametrize("pooling", ["max", "average", "none"])
@pytest.mark.parametrize("padding", ["same", "valid", 1])
def test_what_is_refused_is_what_torch_cannot_compute(padding: Padding, pooling: str) -> None:
    refused = 0
    for kernel_size, stride, size in product([3, 5], [1, 2], [(1, 9), (5, 5), (6, 11), (12, 12), (17, 20)]):
        around = {"same": kernel_size // 2, "valid": 0}.get(str(padding), padding)
        layers: list[nn.Module] = []
        for _ in range(3):
            layers.append(nn.Conv2d(1, 1, kernel_size, stride, around))
            if pooling != "none":
                layers.append(nn.MaxPool2d(2) if pooling == "max" else nn.AvgPool2d(2))
        geometry = (size, [1, 1, 1], kernel_size, stride, padding, pooling, 2)
        if size_after(nn.Sequential(*layers), size) is None:
            refused += 1
            with pytest.raises(ConfigError, match="leaves no pixels"):
                cnn_sizes(*geometry)
        else:
            assert cnn_sizes(*geometry)[-1] == size_after(nn.Sequential(*layers), size)
    assert refused or (padding, pooling) in {("same", "none"), (1, "none")}


@pytest.mark.parametrize(
    ("geometry", "layer", "gets"),
    [
        (((8, 8), [4, 4, 4, 4], 3, 1, "same", "max", 2), "the pooling of block 4", "it gets 1x1 and would give 0x0"),
        (
            ((10, 10), [4, 4, 4], 3, 1, "valid", "max", 2),
            "the convolution of block 3",
            "it gets 1x1 and would give 0x0",
        ),
        (((4, 20), [4], 5, 1, 0, "none", 2), "the convolution of block 1", "it gets 4x20 and would give 0x16"),
        (((28, 28), [4, 4], 3, 1, 1, "average", 20), "the pooling of block 2", "it gets 1x1 and would give 0x0"),
    ],
)
def test_a_layer_without_a_pixel_is_named_with_the_size_that_it_got(
    geometry: tuple[Size, list[int], int, int, Padding, str, int], layer: str, gets: str
) -> None:
    for build in (cnn_sizes, cnn):
        with pytest.raises(ConfigError) as raised:
            build(*geometry)
        assert layer in str(raised.value)
        assert gets in str(raised.value)


@pytest.mark.parametrize("kernel_size", [2, 4])
@pytest.mark.parametrize("stride", [2, 3])
def test_same_padding_of_an_even_kernel_is_refused_with_a_stride(kernel_size: int, stride: int) -> None:
    with pytest.raises(ConfigError, match=rf"model.padding.*kernel_size {kernel_size} with stride {stride}"):
        cnn_sizes((32, 32), [4], kernel_size, stride, "same", "max", 2)
    assert cnn_sizes((32, 32), [4], kernel_size, 1, "same", "max", 2) == [(16, 16)]
    assert cnn_sizes((32, 32), [4], kernel_size, stride, 1, "none", 2)
