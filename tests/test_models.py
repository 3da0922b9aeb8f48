"""Networks, compared with plain torch layers, and how a saved one is loaded."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import Tensor, nn

from imagewright.errors import ConfigError, DataError
from imagewright.models.cnn import CNN
from imagewright.models.layers import InputNormalization, activation_layer, classifier
from imagewright.models.mlp import MLP
from imagewright.models.resnet import ResNet
from imagewright.models.saved import build_network, load_model

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
CLASSES = 4


def cnn(input_shape: tuple[int, int, int] = (3, 16, 12), **keys: Any) -> CNN:
    defaults: dict[str, Any] = {
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
        "dropout": 0.0,
    }
    return CNN(input_shape, CLASSES, **{**defaults, **keys})


def mlp(input_shape: tuple[int, int, int] = (3, 16, 12), **keys: Any) -> MLP:
    defaults: dict[str, Any] = {"hidden_units": [10, 7], "batch_norm": False, "activation": "relu", "dropout": 0.0}
    return MLP(input_shape, CLASSES, **{**defaults, **keys})


def resnet(input_shape: tuple[int, int, int] = (3, 16, 12), **keys: Any) -> ResNet:
    defaults: dict[str, Any] = {
        "channels": [4, 6],
        "blocks": 1,
        "stem_stride": 1,
        "activation": "relu",
        "dropout": 0.0,
    }
    return ResNet(input_shape, CLASSES, **{**defaults, **keys})


def pixels(batch: int = 5, shape: tuple[int, int, int] = (3, 16, 12)) -> Tensor:
    return torch.randn(batch, *shape, generator=torch.Generator().manual_seed(batch))


def as_trained(network: nn.Module, *, positive: bool = True) -> nn.Module:
    """Give the batch norms weights and running statistics as a training would leave them; switch to evaluation."""
    random = torch.Generator().manual_seed(3)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(generator=random)
            layer.running_var.uniform_(0.2, 3, generator=random)
            layer.weight.data.uniform_(0.3, 2, generator=random)
            layer.bias.data.normal_(generator=random)
            if not positive:
                layer.weight.data.neg_()
    return network.eval()


def with_weights_of(network: nn.Module, plain: nn.Module) -> nn.Module:
    """``plain`` with the tensors of ``network``, which must have the same shapes in the same order."""
    names, tensors = list(plain.state_dict()), list(network.state_dict().values())
    plain.load_state_dict(dict(zip(names, tensors, strict=True)))
    return plain.train(network.training)


def linear_units(network: nn.Module) -> list[tuple[int, int]]:
    return [(layer.in_features, layer.out_features) for layer in network.modules() if isinstance(layer, nn.Linear)]


NETWORKS = {
    "cnn": cnn,
    "cnn without pooling": lambda **keys: cnn(pooling="none", stride=2, **keys),
    "cnn with average pooling": lambda **keys: cnn(pooling="average", **keys),
    "cnn without batch norm": lambda **keys: cnn(batch_norm=False, **keys),
    "cnn, flattened": lambda **keys: cnn(head="flatten", hidden_units=[9, 8], **keys),
    "cnn, valid": lambda **keys: cnn(padding="valid", kernel_size=2, **keys),
    "cnn, padded": lambda **keys: cnn(padding=3, kernel_size=5, stride=2, **keys),
    "mlp": mlp,
    "mlp with batch norm": lambda **keys: mlp(batch_norm=True, **keys),
    "linear": lambda **keys: mlp(hidden_units=[], **keys),
    "resnet": resnet,
    "deep resnet": lambda **keys: resnet(channels=[4, 4, 8], blocks=2, stem_stride=2, **keys),
}


@pytest.mark.parametrize(
    ("name", "activation"),
    [*((name, "relu") for name in NETWORKS), *(("cnn", name) for name in ACTIVATIONS if name != "relu")],
)
def test_a_network_gives_a_logit_for_each_class_and_a_gradient_to_each_parameter(name: str, activation: str) -> None:
    torch.manual_seed(0)
    network = NETWORKS[name](activation=activation)
    logits = network(pixels())
    assert logits.shape == (5, CLASSES)
    assert torch.isfinite(logits).all()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2, 3, 0])).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 21)])
def test_a_network_takes_the_input_shape_that_it_was_built_for(name: str, shape: tuple[int, int, int]) -> None:
    assert NETWORKS[name](input_shape=shape)(pixels(3, shape)).shape == (3, CLASSES)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_logits_of_an_image_do_not_depend_on_its_batch(name: str) -> None:
    network = as_trained(NETWORKS[name]())
    images = pixels(5)
    together = network(images)
    for index in range(5):
        torch.testing.assert_close(network(images[index : index + 1])[0], together[index])


def test_an_even_kernel_with_same_padding_gives_no_warning() -> None:
    always = torch.is_warn_always_enabled()
    torch.set_warn_always(True)  # By default torch warns once in a process, maybe in another test.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert cnn(kernel_size=2)(pixels()).shape == (5, CLASSES)
    finally:
        torch.set_warn_always(always)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_torchs_of_that_name(name: str) -> None:
    assert type(activation_layer(name)) is ACTIVATIONS[name]


# --- cnn --------------------------------------------------------------------------------------------------------------


def plain_cnn(
    *,
    kernel_size: int,
    stride: int,
    around: int,
    pooling: nn.Module | None,
    batch_norm: bool,
    activation: str,
    flatten: bool,
    features: int,
) -> nn.Sequential:
    """Two blocks as a course writes them, but with the pooling where the CNN has it."""
    layers: list[nn.Module] = []
    for inputs, filters in ((3, 4), (4, 6)):
        layers.append(nn.Conv2d(inputs, filters, kernel_size, stride, around, bias=not batch_norm))
        if pooling is not None:
            layers.append(pooling)
        if batch_norm:
            layers.append(nn.BatchNorm2d(filters))
        layers.append(ACTIVATIONS[activation]())
    head = [] if flatten else [nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(
        *layers,
        *head,
        nn.Flatten(),
        nn.Linear(features, 9),
        ACTIVATIONS[activation](),
        nn.Linear(9, CLASSES),
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("keys", "plain", "size"),
    [
        ({}, {"kernel_size": 3, "stride": 1, "around": 1, "pooling": nn.MaxPool2d(2)}, (4, 3)),
        (
            {"pooling": "average", "kernel_size": 5},
            {"kernel_size": 5, "stride": 1, "around": 2, "pooling": nn.AvgPool2d(2)},
            (4, 3),
        ),
        (
            {"pooling": "none", "stride": 2},
            {"kernel_size": 3, "stride": 2, "around": 1, "pooling": None},
            (4, 3),
        ),
        (
            {"padding": "valid"},
            {"kernel_size": 3, "stride": 1, "around": 0, "pooling": nn.MaxPool2d(2)},
            (2, 1),
        ),
        (
            {"padding": 2, "kernel_size": 2, "pool_size": 2},
            {"kernel_size": 2, "stride": 1, "around": 2, "pooling": nn.MaxPool2d(2)},
            (6, 5),
        ),
    ],
    ids=["max", "average", "strided", "valid", "padded"],
)
@pytest.mark.parametrize("head", ["flatten", "global_average"])
def test_the_cnn_is_the_plain_layers_with_its_weights(
    keys: dict[str, Any],
    plain: dict[str, Any],
    size: tuple[int, int],
    head: str,
    batch_norm: bool,
    activation: str,
    training: bool,
) -> None:
    torch.manual_seed(1)
    network = as_trained(
        cnn(head=head, hidden_units=[9], batch_norm=batch_norm, activation=activation, **keys), positive=False
    ).train(training)
    flatten = head == "flatten"
    features = 6 * (size[0] * size[1] if flatten else 1)
    other = plain_cnn(**plain, batch_norm=batch_norm, activation=activation, flatten=flatten, features=features)
    with_weights_of(network, other)
    torch.testing.assert_close(network(pixels()), other(pixels()))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "tanh"])
def test_pooling_before_batch_norm_equals_the_usual_order(activation: str, training: bool) -> None:
    torch.manual_seed(2)
    network = as_trained(cnn(activation=activation))
    blocks: list[nn.Module] = []
    for inputs, filters in ((3, 4), (4, 6)):
        convolution = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
        blocks += [convolution, nn.BatchNorm2d(filters), ACTIVATIONS[activation](), nn.MaxPool2d(2)]
    usual = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES))
    with_weights_of(network, usual)
    torch.testing.assert_close(network(pixels()), usual(pixels()))


def test_pooling_before_batch_norm_differs_from_the_usual_order_where_a_weight_is_negative() -> None:
    network = as_trained(cnn(channels=[4]), positive=False)
    usual = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )
    with_weights_of(network, usual)
    assert not torch.allclose(network(pixels()), usual(pixels()), atol=1e-3)


@pytest.mark.parametrize(
    ("head", "hidden_units", "expected"),
    [
        ("global_average", [], [(6, CLASSES)]),
        ("flatten", [], [(6 * 4 * 3, CLASSES)]),
        ("global_average", [20, 8], [(6, 20), (20, 8), (8, CLASSES)]),
        ("flatten", [20], [(6 * 4 * 3, 20), (20, CLASSES)]),
    ],
)
def test_the_head_decides_how_many_features_the_classifier_gets(
    head: str, hidden_units: list[int], expected: list[tuple[int, int]]
) -> None:
    assert linear_units(cnn(head=head, hidden_units=hidden_units)) == expected


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_convolution_has_a_bias_where_no_batch_norm_would_undo_it(batch_norm: bool) -> None:
    layers = list(cnn(batch_norm=batch_norm).modules())
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    assert len(convolutions) == 2
    assert all((layer.bias is None) == batch_norm for layer in convolutions)
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in layers) == 2 * batch_norm


# --- mlp, resnet, dropout ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_mlp_is_the_plain_layers_with_its_weights(activation: str, batch_norm: bool, training: bool) -> None:
    network = as_trained(mlp(batch_norm=batch_norm, activation=activation)).train(training)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, units in ((3 * 16 * 12, 10), (10, 7)):
        layers.append(nn.Linear(inputs, units, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm1d(units))
        layers.append(ACTIVATIONS[activation]())
    other = with_weights_of(network, nn.Sequential(*layers, nn.Linear(7, CLASSES)))
    torch.testing.assert_close(network(pixels()), other(pixels()))


def test_the_mlp_knows_nothing_of_neighbours() -> None:
    network = as_trained(mlp())
    images = pixels()
    order = torch.randperm(16 * 12 * 3, generator=torch.Generator().manual_seed(0))
    first = network.layers[0]
    assert isinstance(first, nn.Linear)
    expected = network(images)
    first.weight.data = first.weight.data[:, order]
    torch.testing.assert_close(network(images.flatten(1)[:, order].view_as(images)), expected)


@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_a_residual_block_adds_its_input_to_what_its_convolutions_give(activation: str) -> None:
    network = as_trained(resnet(channels=[4, 6], blocks=2, activation=activation))
    weights = network.state_dict()
    act = ACTIVATIONS[activation]()

    def layer(images: Tensor, convolution: str, norm: str, stride: int) -> Tensor:
        kernel = weights[f"{convolution}.weight"]
        images = nn.functional.conv2d(images, kernel, None, stride, kernel.shape[-1] // 2)
        statistics = (weights[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return nn.functional.batch_norm(images, *statistics)

    images = act(layer(pixels(), "stem.0", "stem.1", 1))
    for block, stride, shortcut in ((0, 1, False), (1, 1, False), (2, 2, True), (3, 1, False)):
        name = f"blocks.{block}"
        residual = act(layer(images, f"{name}.residual.0", f"{name}.residual.1", stride))
        residual = layer(residual, f"{name}.residual.3", f"{name}.residual.4", 1)
        if shortcut:
            images = layer(images, f"{name}.shortcut.0", f"{name}.shortcut.1", stride)
        images = act(residual + images)
    assert images.shape == (5, 6, 8, 6)
    expected = images.mean(dim=(2, 3)) @ weights["classifier.1.weight"].T + weights["classifier.1.bias"]
    torch.testing.assert_close(network(pixels()), expected)


@pytest.mark.parametrize(
    ("stem_stride", "channels", "blocks", "size"),
    [(1, [4], 1, (16, 12)), (1, [4, 6], 3, (8, 6)), (2, [4, 6, 8], 1, (2, 2)), (2, [4, 4, 4, 4, 4], 1, (1, 1))],
)
def test_each_stage_but_the_first_halves_the_image(
    stem_stride: int, channels: list[int], blocks: int, size: tuple[int, int]
) -> None:
    network = resnet(stem_stride=stem_stride, channels=channels, blocks=blocks)
    assert network.blocks(network.stem(pixels())).shape[1:] == (channels[-1], *size)
    assert len(network.blocks) == len(channels) * blocks


@pytest.mark.parametrize("build", [cnn, mlp, resnet])
def test_dropout_acts_in_training_only(build: Any) -> None:
    torch.manual_seed(0)
    network = as_trained(build(dropout=0.5))
    without = with_weights_of(network, build(dropout=0.0))
    torch.testing.assert_close(network(pixels()), without(pixels()), rtol=0, atol=0)
    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.train()
    assert not torch.equal(network(pixels()), network(pixels()))


@pytest.mark.parametrize("hidden_units", [[], [20], [20, 10]])
def test_the_classifier_drops_the_configured_share_before_each_dense_layer(hidden_units: list[int]) -> None:
    torch.manual_seed(0)
    layers = list(classifier(2000, hidden_units, CLASSES, "relu", 0.3).children())
    kinds = [type(layer) for layer in layers]
    assert kinds == [nn.Dropout, nn.Linear, nn.ReLU] * len(hidden_units) + [nn.Dropout, nn.Linear]
    dropped = layers[0](torch.ones(10, 2000))
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert dropped.max().item() == pytest.approx(1 / 0.7)


# --- normalization ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shift", "scale"),
    [([0.0], [1.0]), ([127.5], [255.0]), ([33.3, 0.0, 250.1], [0.37, 1.0, 99.9])],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_input_normalization_is_numpys(shift: Sequence[float], scale: Sequence[float], dtype: type) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, len(shift), 6, 5)).astype(dtype)
    expected = (images.astype(np.float64) - np.reshape(shift, (1, -1, 1, 1))) / np.reshape(scale, (1, -1, 1, 1))
    for order in (torch.contiguous_format, torch.channels_last):
        pixels = torch.from_numpy(images).contiguous(memory_format=order)
        given = InputNormalization(shift, scale)(pixels)
        assert given.dtype == torch.float32
        np.testing.assert_allclose(given.numpy(), expected, rtol=1e-6, atol=1e-4)
        np.testing.assert_array_equal(pixels.numpy(), images)


def test_the_input_normalization_keeps_the_memory_order_and_is_not_trained() -> None:
    layer = InputNormalization([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    images = torch.zeros(2, 3, 4, 5, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    assert layer(images).is_contiguous(memory_format=torch.channels_last)
    assert not list(layer.parameters())
    assert len(layer.state_dict()) == 2


# --- saved ------------------------------------------------------------------------------------------------------------

MLP_SECTION = {
    "_target_": "imagewright.models.mlp.MLP",
    "hidden_units": [6],
    "batch_norm": True,
    "activation": "relu",
    "dropout": 0.5,
}


PREPROCESSING = {
    "fit": "pad",
    "background": [0, 128, 255],
    "value_range": "image",
    "max_pixels": 1000,
    "min_side": 2,
}


def checkpoint(**changes: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A network, and what a checkpoint of it holds; ``changes`` are made in its hyperparameters."""
    torch.manual_seed(0)
    network = build_network(MLP_SECTION, (3, 8, 6), 3, [10.0, 20.0, 30.0], [2.0, 4.0, 8.0])
    as_trained(network)
    made: dict[str, Any] = {
        "network": MLP_SECTION,
        "input_shape": [3, 8, 6],
        "classes": ["a", "b", "c"],
        "shift": [10.0, 20.0, 30.0],
        "scale": [2.0, 4.0, 8.0],
        "preprocessing": PREPROCESSING,
        **changes,
    }
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    return network, {"hyper_parameters": made, "state_dict": {**state, "loss.weight": torch.ones(3)}}


def test_a_network_takes_raw_pixels_and_normalizes_them_first() -> None:
    network, _ = checkpoint()
    images = torch.randint(0, 256, (5, 3, 8, 6), dtype=torch.uint8)
    shift, scale = (torch.tensor(values).view(1, 3, 1, 1) for values in ([10.0, 20.0, 30.0], [2.0, 4.0, 8.0]))
    torch.testing.assert_close(network(images), network[1]((images.float() - shift) / scale))  # type: ignore[index]


def test_a_saved_model_predicts_as_before_and_knows_its_classes(tmp_path: Path) -> None:
    network, saved = checkpoint()
    torch.save(saved, tmp_path / "best.ckpt")
    loaded = load_model(tmp_path / "best.ckpt")
    images = torch.randint(0, 256, (5, 3, 8, 6), dtype=torch.uint8)
    assert torch.equal(loaded.network(images), network(images))
    assert loaded.classes == ["a", "b", "c"]
    assert loaded.input_shape == (3, 8, 6)
    assert loaded.preprocessing == PREPROCESSING
    assert not any(layer.training for layer in loaded.network.modules())


@pytest.mark.parametrize("batch", [1, 2, 9])
@pytest.mark.parametrize("writeable", [True, False])
def test_the_probabilities_of_a_saved_model_are_the_softmax_of_its_logits(
    tmp_path: Path, batch: int, writeable: bool
) -> None:
    network, saved = checkpoint()
    torch.save(saved, tmp_path / "best.ckpt")
    images = np.random.default_rng(batch).integers(0, 256, (batch, 8, 6, 3), dtype=np.uint8)
    images.flags.writeable = writeable
    with torch.no_grad():
        logits = network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy().astype(np.float64)
    given = load_model(tmp_path / "best.ckpt").probabilities(images)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, softmax(logits, axis=1), rtol=0, atol=1e-6)


def test_a_checkpoint_that_does_not_know_its_preprocessing_is_refused_with_what_to_do(tmp_path: Path) -> None:
    _, saved = checkpoint()
    del saved["hyper_parameters"]["preprocessing"]
    torch.save(saved, tmp_path / "best.ckpt")
    with pytest.raises(DataError, match=r"best\.ckpt: is of an earlier version, and does not say how .* train again"):
        load_model(tmp_path / "best.ckpt")


def test_a_missing_checkpoint_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"best\.ckpt: not found"):
        load_model(tmp_path / "best.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "best.ckpt"
    torch.save(checkpoint()[1], path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"best\.ckpt: is no checkpoint"):
        load_model(path)


def test_a_file_of_any_other_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    random = np.random.default_rng(0)
    contents = [b"just text\n", b"\x89PNG\r\n\x1a\n", *(random.bytes(size) for size in range(1, 200))]
    for content in contents:
        # With and without the first bytes of a pickle.
        for start in (b"", b"\x80\x02"):
            path.write_bytes(start + content)
            with pytest.raises(DataError, match=r"best\.ckpt: is no checkpoint"):
                load_model(path)


class _MakesAFile:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self._path),)


@pytest.mark.parametrize("place", ["alone", "hyper_parameters", "state_dict", "beside"])
@pytest.mark.parametrize("form", ["torch", "pickle"])
def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, form: str, place: str) -> None:
    made, path = tmp_path / "made", tmp_path / "best.ckpt"
    _, saved = checkpoint()
    attack = _MakesAFile(made)
    content: Any = attack if place == "alone" else {**saved, place: attack}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(DataError, match=r"best\.ckpt: is no checkpoint"):
        load_model(path)
    assert not made.exists()
    # The file is dangerous indeed: a loader that trusts it runs the code.
    if form == "torch":
        torch.load(path, weights_only=False)
    else:
        pickle.loads(path.read_bytes())
    assert made.exists()


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "torch.nn.Linear", "imagewright.models.saved.os.x"])
def test_a_checkpoint_that_names_a_foreign_network_is_refused(tmp_path: Path, target: str) -> None:
    _, saved = checkpoint(network={"_target_": target, "command": f"touch {tmp_path / 'made'}"})
    torch.save(saved, tmp_path / "best.ckpt")
    with pytest.raises(ConfigError, match=r"model\._target_: must be of the form imagewright\.models"):
        load_model(tmp_path / "best.ckpt")
    assert not (tmp_path / "made").exists()


FOREIGN: dict[str, Callable[[], Any]] = {
    "nothing": dict,
    "a list": list,
    "None": lambda: None,
    "a tensor": lambda: torch.zeros(3),
    "no hyperparameters": lambda: {"state_dict": checkpoint()[1]["state_dict"]},
    "empty hyperparameters": lambda: {**checkpoint()[1], "hyper_parameters": {}},
    "no weights": lambda: {**checkpoint()[1], "state_dict": {}},
    "weights in a list": lambda: {**checkpoint()[1], "state_dict": []},
    "a network by its name": lambda: checkpoint(network="mlp")[1],
    "too few classes": lambda: checkpoint(classes=["a", "b"])[1],
    "too few channels": lambda: checkpoint(shift=[1.0])[1],
    "a shape of two numbers": lambda: checkpoint(input_shape=[3, 8])[1],
    "a shape of four numbers": lambda: checkpoint(input_shape=[3, 8, 6, 1])[1],
    "no shape": lambda: checkpoint(input_shape=None)[1],
    "preprocessing without a key": lambda: checkpoint(preprocessing={"fit": "crop"})[1],
    "no preprocessing": lambda: checkpoint(preprocessing=None)[1],
    **{
        f"{key} {value}": lambda key=key, value=value: checkpoint(preprocessing={**PREPROCESSING, key: value})[1]
        for key, value in (
            *(("fit", "squeeze"), ("fit", None), ("value_range", "some"), ("background", [0, 0])),
            *(("background", [0, 0, 256]), ("background", 0), ("max_pixels", 0), ("min_side", "1"), ("min_side", True)),
        )
    },
}


@pytest.mark.parametrize("content", FOREIGN)
def test_a_checkpoint_that_imagewright_did_not_write_is_refused(tmp_path: Path, content: str) -> None:
    torch.save(FOREIGN[content](), tmp_path / "best.ckpt")
    with pytest.raises(DataError, match=r"best\.ckpt: is no checkpoint"):
        load_model(tmp_path / "best.ckpt")
