"""What happens inside a network, compared with its layers applied by hand and with plain autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from imagewright.models.inside import feature_maps, first_kernels, grad_cam
from imagewright.models.saved import build_network

SHAPE = (3, 16, 12)
TIMES = "\N{MULTIPLICATION SIGN}"
CLASSES = 4
KEYS: dict[str, dict[str, Any]] = {
    "cnn.CNN": {
        "channels": [4, 6],
        "kernel_size": 3,
        "stride": 1,
        "padding": "same",
        "pooling": "max",
        "pool_size": 2,
        "batch_norm": True,
        "activation": "relu",
        "head": "global_average",
        "hidden_units": [],
        "dropout": 0.5,
    },
    "resnet.ResNet": {"channels": [4, 6], "blocks": 1, "stem_stride": 1, "activation": "relu", "dropout": 0.5},
    "mlp.MLP": {"hidden_units": [10, 7], "batch_norm": False, "activation": "relu", "dropout": 0.5},
}


def made(name: str, shape: tuple[int, int, int] = SHAPE, **keys: Any) -> nn.Sequential:
    """A network with its input normalization, and batch norms as a training would leave them."""
    torch.manual_seed(1)
    section = {"_target_": f"imagewright.models.{name}", **KEYS[name], **keys}
    network = build_network(section, shape, CLASSES, [100.0] * shape[0], [60.0] * shape[0])
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.3, 2)
            layer.weight.data.uniform_(0.3, 2)
            layer.bias.data.normal_()
    assert isinstance(network, nn.Sequential)
    return network.eval()


def images(batch: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    return torch.randint(0, 256, (batch, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(batch))


def targets(batch: int) -> Tensor:
    return torch.arange(batch) % CLASSES


NETWORKS: dict[str, Callable[[], nn.Sequential]] = {
    "cnn": lambda: made("cnn.CNN"),
    "cnn, flatten and hidden units": lambda: made("cnn.CNN", head="flatten", hidden_units=[9], pooling="average"),
    "cnn, strides instead of pooling, no batch norm": lambda: made(
        "cnn.CNN", pooling="none", stride=2, batch_norm=False, activation="gelu"
    ),
    "cnn, an even kernel": lambda: made("cnn.CNN", kernel_size=4, activation="tanh"),
    "resnet": lambda: made("resnet.ResNet"),
    "resnet, more blocks": lambda: made("resnet.ResNet", blocks=2, stem_stride=2, activation="silu"),
    "mlp": lambda: made("mlp.MLP"),
}
WITH_MAPS = [name for name in NETWORKS if name != "mlp"]


# --- kernels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "path"), [("cnn", "1.blocks.0.0"), ("resnet", "1.stem.0")])
def test_the_kernels_are_the_weights_of_the_first_convolution(name: str, path: str) -> None:
    network = NETWORKS[name]()
    kernels = first_kernels(network, SHAPE)
    assert kernels is not None
    weight = network.get_submodule(path).weight
    assert isinstance(weight, Tensor)
    assert kernels.shape == (4, 3, 3, 3)
    for unit, row, column, channel in np.ndindex(kernels.shape):
        assert kernels[unit, row, column, channel] == weight[unit, channel, row, column]


def test_the_kernels_of_a_dense_network_lie_over_the_image_as_its_first_layer_does() -> None:
    network = made("mlp.MLP")
    kernels = first_kernels(network, SHAPE)
    assert kernels is not None
    image = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(0))
    layer = network.get_submodule("1.layers.0")
    assert isinstance(layer, nn.Linear)
    expected = layer(image.flatten(1))[0].detach().numpy()
    pixels = image[0].permute(1, 2, 0).numpy()
    found = [(kernel * pixels).sum() for kernel in kernels] + layer.bias.detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("network", [nn.ReLU(), nn.Sequential(nn.Linear(7, 2), nn.Conv2d(1, 1, 1))])
def test_a_network_whose_first_layer_does_not_see_the_pixels_has_no_kernels(network: nn.Module) -> None:
    assert first_kernels(network, SHAPE) is None


def test_the_kernels_are_a_copy() -> None:
    network = made("cnn.CNN")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    kernels = first_kernels(network, SHAPE)
    assert kernels is not None
    kernels[:] = 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


# --- feature maps -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def steps_of_cnn(network: nn.Sequential, image: Tensor) -> list[tuple[str, Tensor]]:
    """Convolution, pooling and activation of each block, one layer after the other."""
    steps = []
    values = network[0](image)
    body: Any = network[1]
    for number, block in enumerate(body.blocks, start=1):
        for layer in block:
            values = layer(values)
            kind = type(layer).__name__
            if isinstance(layer, nn.Conv2d):
                stride = f", stride {layer.stride[0]}" if layer.stride[0] > 1 else ""
                steps.append(
                    (f"block {number}: convolution {layer.kernel_size[0]}{TIMES}{layer.kernel_size[1]}{stride}", values)
                )
            elif isinstance(layer, nn.MaxPool2d | nn.AvgPool2d):
                how = "max" if isinstance(layer, nn.MaxPool2d) else "average"
                steps.append((f"block {number}: {how} pooling {layer.kernel_size}{TIMES}{layer.kernel_size}", values))
            elif kind in ("ReLU", "GELU", "Tanh"):
                norm = "batch norm, " if any(isinstance(other, nn.BatchNorm2d) for other in block) else ""
                steps.append((f"block {number}: {norm}activation {kind}", values))
    if isinstance(body.pool, nn.AdaptiveAvgPool2d):
        steps.append(("global average pooling", values.mean((2, 3), keepdim=True)))
    return steps


@torch.no_grad()
def steps_of_resnet(network: nn.Sequential, image: Tensor) -> list[tuple[str, Tensor]]:
    """The steps by the formula of a residual block: act(residual + shortcut)."""
    body: Any = network[1]
    act = type(body.stem[2]).__name__
    values = body.stem[0](network[0](image))
    strided = f", stride {body.stem[0].stride[0]}" if body.stem[0].stride[0] > 1 else ""
    steps = [(f"stem: convolution 3{TIMES}3{strided}", values)]
    values = body.stem[2](body.stem[1](values))
    steps.append((f"stem: batch norm, activation {act}", values))
    for number, block in enumerate(body.blocks, start=1):
        place = f"block {number}"
        first = block.residual[0](values)
        second = block.residual[3](block.residual[2](block.residual[1](first)))
        strided = ", stride 2" if block.residual[0].stride[0] == 2 else ""
        steps += [
            (f"{place}, residual: convolution 3{TIMES}3{strided}", first),
            (f"{place}, residual: convolution 3{TIMES}3", second),
        ]
        around = values
        if isinstance(block.shortcut, nn.Sequential):
            around = block.shortcut[0](values)
            steps.append((f"{place}, shortcut: convolution 1{TIMES}1{strided}", around))
            around = block.shortcut[1](around)
        values = block.activation(block.residual[4](second) + around)
        steps.append((f"{place}: batch norm, activation {act}", values))
    return [*steps, ("global average pooling", values.mean((2, 3), keepdim=True))]


@pytest.mark.parametrize("name", WITH_MAPS)
def test_the_maps_are_those_of_the_layers_applied_by_hand(name: str) -> None:
    network, image = NETWORKS[name](), images(1)
    expected = (steps_of_cnn if name.startswith("cnn") else steps_of_resnet)(network, image)
    found = feature_maps(network, image)
    assert [step.name for step in found] == [words for words, _ in expected]
    for step, (_, values) in zip(found, expected, strict=True):
        assert step.maps.dtype == np.float32
        assert step.shape == step.maps.shape == tuple(values.shape[1:])
        np.testing.assert_allclose(step.maps, values[0].numpy(), atol=1e-5)


def test_a_network_without_maps_has_no_steps() -> None:
    assert feature_maps(made("mlp.MLP"), images(1)) == []


class Doubled(nn.Module):
    """Twice its input, perhaps in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, values: Tensor) -> Tensor:
        return values.mul_(2) if self.inplace else values * 2


def test_layers_that_change_their_input_in_place_do_not_change_the_maps_before_them() -> None:
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)]
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), Doubled(inplace=False), *head)
    image = images(2).float()
    kept, heat = feature_maps(plain, image[:1]), grad_cam(plain, image, targets(2))
    plain[1], plain[2] = nn.ReLU(inplace=True), Doubled(inplace=True)
    for step, other in zip(kept, feature_maps(plain, image[:1]), strict=True):
        assert step.name == other.name
        np.testing.assert_array_equal(step.maps, other.maps)
    assert kept[0].maps.min() < 0
    np.testing.assert_array_equal(heat, grad_cam(plain, image, targets(2)))


# --- Grad-CAM ---------------------------------------------------------------------------------------------------------


def enlarged(values: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """Bilinear, between the centres of the pixels; beyond the outermost their values."""

    def weights(size: int, wanted: int) -> npt.NDArray[Any]:
        centres = np.clip((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0, size - 1)
        low = np.minimum(centres.astype(int), max(size - 2, 0))
        matrix = np.zeros((wanted, size))
        matrix[np.arange(wanted), low] = 1 - (centres - low)
        matrix[np.arange(wanted), np.minimum(low + 1, size - 1)] += centres - low
        return matrix

    return weights(values.shape[0], height) @ values @ weights(values.shape[1], width).T


def heated(maps: npt.NDArray[Any], weights: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[Any]:
    """The positive part of a weighted sum of maps (channels, h, w), brought to a size and to 1."""
    heat = enlarged(np.maximum(np.einsum("c,chw->hw", weights, maps), 0), height, width)
    return heat / heat.max() if heat.max() else heat


def parts(network: nn.Sequential) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """From pixels to the last maps, and from there to logits."""
    body: Any = network[1]
    start = nn.Sequential(network[0], *([body.stem] if hasattr(body, "stem") else []), body.blocks)
    return start, lambda maps: body.classifier(body.pool(maps).flatten(1))


@pytest.mark.parametrize("name", WITH_MAPS)
def test_the_heat_is_that_of_plain_autograd_image_by_image(name: str) -> None:
    network, batch = NETWORKS[name](), images(6)
    start, end = parts(network)
    found = grad_cam(network, batch, targets(6))
    assert found is not None
    assert found.shape == (6, 16, 12)
    assert found.dtype == np.float32
    for row in range(6):
        maps = start(batch[row : row + 1]).detach().requires_grad_()
        end(maps)[0, targets(6)[row]].backward()
        assert maps.grad is not None
        values, gradients = maps[0].detach().numpy(), maps.grad[0].numpy()
        expected = heated(values, gradients.mean((1, 2)), 16, 12)
        if not expected.any():  # each place has a weight of its own then
            expected = heated((gradients * values).sum(0, keepdims=True), np.ones(1), 16, 12)
        np.testing.assert_allclose(found[row], expected, atol=2e-6)
    assert found.max() == 1
    assert found.min() >= 0


@pytest.mark.parametrize("name", ["cnn", "resnet", "resnet, more blocks"])
def test_with_global_average_and_one_dense_layer_it_is_the_class_activation_map(name: str) -> None:
    network, batch = NETWORKS[name](), images(5)
    start, _ = parts(network)
    dense = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    found = grad_cam(network, batch, targets(5))
    assert found is not None
    with torch.no_grad():
        maps = start(batch).numpy()
    for row in range(5):
        weights = dense.weight[targets(5)[row]].detach().numpy()
        np.testing.assert_allclose(found[row], heated(maps[row], weights, 16, 12), atol=2e-6)


def test_maps_of_one_pixel_give_way_to_the_last_ones_that_say_where() -> None:
    shape = (1, 8, 8)
    network, batch = made("cnn.CNN", shape, channels=[4, 6, 8]), images(3, shape)
    body: Any = network[1]
    found = grad_cam(network, batch, targets(3))
    assert found is not None
    for row in range(3):
        maps = body.blocks[:2](network[0](batch[row : row + 1])).detach().requires_grad_()
        assert maps.shape[2:] == (2, 2)
        body.classifier(body.pool(body.blocks[2](maps)).flatten(1))[0, targets(3)[row]].backward()
        assert maps.grad is not None
        expected = heated(maps[0].detach().numpy(), maps.grad[0].mean((1, 2)).numpy(), 8, 8)
        np.testing.assert_allclose(found[row], expected, atol=2e-6)


def test_where_no_place_speaks_for_the_class_there_is_no_heat() -> None:
    network = made("cnn.CNN")
    dense = next(layer for layer in network.modules() if isinstance(layer, nn.Linear))
    dense.weight.data.abs_()
    dense.weight.data[0].neg_()
    found = grad_cam(network, images(2), torch.tensor([0, 1]))
    assert found is not None
    assert not found[0].any()
    assert found[1].max() == 1


def test_a_network_without_maps_has_no_heat() -> None:
    assert grad_cam(made("mlp.MLP"), images(2), targets(2)) is None


# --- the network afterwards -------------------------------------------------------------------------------------------


def look(network: nn.Module) -> None:
    feature_maps(network, images(1))
    grad_cam(network, images(3), targets(3))


def look_at_too_many_channels(network: nn.Module) -> None:
    for act in (lambda: feature_maps(network, images(1, (5, 16, 12))), lambda: look_for_a_class(network, 99)):
        with pytest.raises((RuntimeError, IndexError)):
            act()


def look_for_a_class(network: nn.Module, label: int) -> None:
    if grad_cam(network, images(2), torch.tensor([label, 0])) is None:
        raise IndexError("no maps")


@pytest.mark.parametrize("act", [look, look_at_too_many_channels])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_is_as_it_was_also_after_an_error(name: str, act: Callable[[nn.Module], None]) -> None:
    network = NETWORKS[name]().train()
    network.get_submodule("0").eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = {path: layer.training for path, layer in network.named_modules()}
    act(network)
    assert {path: layer.training for path, layer in network.named_modules()} == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    for value in network.parameters():
        assert value.grad is None
        assert value.requires_grad
    for layer in network.modules():
        assert not layer._forward_hooks
        assert not layer._backward_hooks


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_heat_is_found_where_gradients_are_off_and_weights_are_frozen(mode: Callable[[], Any]) -> None:
    network, batch = made("cnn.CNN"), images(2)
    expected = grad_cam(network, batch, targets(2))
    network.requires_grad_(False)
    with mode():
        np.testing.assert_array_equal(grad_cam(network, batch, targets(2)), expected)
