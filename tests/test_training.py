"""Training, compared with plain PyTorch on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from imagewright.config.composition import compose_config
from imagewright.data.augmentation import Policy
from imagewright.data.loader import Arrays, ImageBatches, make_loader
from imagewright.errors import ConfigError, TrainingError
from imagewright.evaluation.prediction import predict
from imagewright.models.saved import build_network, load_model
from imagewright.training.fitting import Fitted, TrainingData, fit
from imagewright.training.runtime import choose_runtime

ROOT = Path(__file__).parents[1]

CLASSES = ["a", "b", "c"]
SHIFT, SCALE = [128.0], [64.0]
PREPROCESSING = {
    "fit": "crop",
    "background": [255, 255, 255],
    "value_range": "type",
    "max_pixels": 10**6,
    "min_side": 4,
}
# A learning rate that changes no weight.
FROZEN = ("optimizer=sgd", "optimizer.lr=1e-12", "model.dropout=0")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On images as small as these, more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def configured(*given: str) -> dict[str, Any]:
    """A small configuration in which nothing is left to the machine; ``given`` win over it."""
    groups = {
        "data": "digits",
        "normalize": "standard",
        "augment": "none",
        "model": "mlp",
        "optimizer": "adamw",
        "scheduler": "none",
        "trainer": "cpu",
        "callbacks": "standard",
    }
    chosen = dict(part.split("=", 1) for part in given)
    # 123 training and 31 validation images do not make batches of equal size.
    small = {"trainer.max_epochs": "3", "trainer.batch_size": "20"}
    if chosen.get("model") == "cnn":
        small["model.channels"] = "[4,8]"
    overrides = {**groups, **small, **chosen}
    return compose_config(ROOT / "conf", ROOT / "params.yaml", [f"{key}={value}" for key, value in overrides.items()])


def images_of(counts: tuple[int, int, int], noise: float, seed: int) -> Arrays:
    """Grey images of 8x8 pixels, each the pattern of its class under noise, in a mixed order."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(3), counts))
    patterns = np.random.default_rng(0).choice([80, 176], (3, 8, 8, 1))
    pixels = patterns[labels] + random.normal(0, noise, (len(labels), 8, 8, 1))
    return pixels.clip(0, 255).astype(np.uint8), labels


def data_of(counts: tuple[int, int, int] = (40, 41, 42), noise: float = 60, **keys: Any) -> TrainingData:
    return TrainingData(
        train=[images_of(counts, noise, seed=1)],
        validation=images_of((14, 10, 7), noise, seed=2),
        classes=CLASSES,
        shift=SHIFT,
        scale=SCALE,
        preprocessing=PREPROCESSING,
        **keys,
    )


def as_batch(arrays: Arrays) -> tuple[Tensor, Tensor]:
    images, labels = arrays
    return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels)


@torch.no_grad()
def loss_of(checkpoint: Path, arrays: Arrays, smoothing: float, weight: Tensor | None = None) -> float:
    """Torch's cross-entropy over all images at once."""
    images, labels = as_batch(arrays)
    logits = load_model(checkpoint).network(images)
    return nn.functional.cross_entropy(logits, labels, weight, label_smoothing=smoothing).item()


def accuracy_of(checkpoint: Path, arrays: Arrays) -> float:
    images, labels = as_batch(arrays)
    return (load_model(checkpoint).network(images).argmax(1) == labels).float().mean().item()


# --- reproducibility --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, model: str) -> None:
    fitted: dict[str, Fitted] = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        fitted[name] = fit(tmp_path / name, data_of(), configured(f"model={model}", f"seed={seed}"))
    first, again, other = ((tmp_path / name / "best.ckpt").read_bytes() for name in ("first", "again", "other"))
    assert first == again
    assert fitted["first"].history == fitted["again"].history
    assert first != other
    assert fitted["first"].history != fitted["other"].history


def test_several_arrays_train_as_one(tmp_path: Path) -> None:
    whole = data_of()
    ((images, labels),) = whole.train
    parts = [(images[:50], labels[:50]), (images[:0], labels[:0]), (images[50:], labels[50:])]
    config = configured()
    fit(tmp_path / "whole", whole, config)
    fit(tmp_path / "parts", dataclasses.replace(whole, train=parts), config)
    assert (tmp_path / "whole" / "best.ckpt").read_bytes() == (tmp_path / "parts" / "best.ckpt").read_bytes()


# --- the steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", ["null", "0.05"])
def test_training_is_torchs_loop_over_the_same_batches(tmp_path: Path, clip: str) -> None:
    config = configured(
        "seed=3",
        "optimizer=sgd",
        "optimizer.lr=0.05",
        "scheduler=cosine",
        "scheduler.warmup=0.25",
        "model.dropout=0",
        "model.batch_norm=true",
        "callbacks=no_early_stopping",
        f"trainer.gradient_clip={clip}",
    )
    data, epochs, seed = data_of(), 3, 3
    history = fit(tmp_path, data, config).history

    torch.manual_seed(seed)
    network = build_network(config["model"], data.input_shape, 3, SHIFT, SCALE).train()
    loader = make_loader(ImageBatches(data.train), 20, shuffle=True, seed=seed)
    keys = {name: value for name, value in config["optimizer"].items() if name != "_target_"}
    optimizer = torch.optim.SGD(network.parameters(), **keys)
    total = epochs * len(loader)
    rising = round(0.25 * total)
    step = 0
    for number in range(epochs):
        loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
        seen, sum_of_losses, right = 0, 0.0, 0
        for images, labels in loader:
            falling = np.cos(np.pi / 2 * (step - rising) / (total - rising)) ** 2
            optimizer.param_groups[0]["lr"] = 0.05 * ((step + 1) / rising if step < rising else falling)
            logits = network(images)
            loss = nn.functional.cross_entropy(logits, labels, label_smoothing=config["trainer"]["label_smoothing"])
            optimizer.zero_grad()
            loss.backward()
            if clip != "null":
                assert nn.utils.clip_grad_norm_(network.parameters(), float(clip)) > float(clip)
            optimizer.step()
            step += 1
            seen += len(labels)
            sum_of_losses += loss.item() * len(labels)
            right += int((logits.argmax(1) == labels).sum())
        assert history[number + 1]["train/loss"] == pytest.approx(sum_of_losses / seen, abs=1e-5)
        assert history[number + 1]["train/accuracy"] == pytest.approx(right / seen)
    trained = load_model(tmp_path / "last.ckpt").network.state_dict()
    assert list(trained) == list(network.state_dict())
    for name, value in network.state_dict().items():
        torch.testing.assert_close(trained[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_without_learning_the_losses_are_torchs_over_all_images(tmp_path: Path, model: str, smoothing: float) -> None:
    config = configured(f"model={model}", *FROZEN, "trainer.max_epochs=1", f"trainer.label_smoothing={smoothing}")
    data = data_of()
    if model == "cnn":
        # The batch norm of a training takes the statistics of the batch, so there is none.
        config["model"]["batch_norm"] = False
    history = fit(tmp_path, data, config).history
    expected = loss_of(tmp_path / "last.ckpt", data.train[0], smoothing)
    assert history[1]["train/loss"] == pytest.approx(expected, abs=1e-5)
    assert history[1]["train/accuracy"] == pytest.approx(accuracy_of(tmp_path / "last.ckpt", data.train[0]))
    expected = loss_of(tmp_path / "last.ckpt", data.validation, smoothing)
    assert history[1]["validation/loss"] == pytest.approx(expected, abs=1e-5)


def balanced(arrays: Arrays) -> Tensor:
    weights = compute_class_weight("balanced", classes=np.arange(3), y=arrays[1])
    return torch.tensor(weights, dtype=torch.float32)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("batch_size", [1000, 16])
def test_balanced_class_weights_are_scikit_learns_whatever_the_batches(
    tmp_path: Path, batch_size: int, smoothing: float
) -> None:
    data = data_of(counts=(80, 30, 10))
    config = configured(
        *FROZEN,
        "trainer.max_epochs=1",
        "trainer.class_weights=balanced",
        f"trainer.batch_size={batch_size}",
        f"trainer.label_smoothing={smoothing}",
    )
    history = fit(tmp_path, data, config).history
    weight = balanced(data.train[0])
    assert weight.max() > 4 * weight.min()
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["hyper_parameters"]["class_weights"]
    assert saved == pytest.approx(weight.tolist())
    for split, arrays in (("train", data.train[0]), ("validation", data.validation)):
        expected = loss_of(tmp_path / "last.ckpt", arrays, smoothing, weight)
        assert history[1][f"{split}/loss"] == pytest.approx(expected, abs=1e-5), split


def test_balanced_class_weights_need_an_image_of_each_class(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.class_weights: .* got none of 'b'"):
        fit(tmp_path, data_of(counts=(20, 0, 20)), configured("trainer.class_weights=balanced"))


def test_a_network_learns_what_can_be_learnt(tmp_path: Path) -> None:
    data = data_of(noise=20)
    fitted = fit(tmp_path, data, configured("model=cnn", "trainer.max_epochs=6"))
    assert accuracy_of(tmp_path / "best.ckpt", data.validation) > 0.9
    assert fitted.history[6]["train/loss"] < fitted.history[1]["train/loss"]


def test_a_checkpoint_knows_what_belongs_to_the_model(tmp_path: Path) -> None:
    fit(tmp_path, data_of(), configured("trainer.max_epochs=1"))
    for name in ("best.ckpt", "last.ckpt"):
        model = load_model(tmp_path / name)
        assert (model.classes, model.input_shape, model.preprocessing) == (CLASSES, (1, 8, 8), PREPROCESSING)


# --- the best epoch ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("monitor", "mode"), [("validation/loss", "min"), ("validation/accuracy", "max"), ("train/loss", "min")]
)
def test_the_best_checkpoint_is_the_first_of_the_best_epochs(tmp_path: Path, monitor: str, mode: str) -> None:
    # Noise so strong, and steps so long, that the validation loss rises again.
    data = data_of(noise=300)
    config = configured(
        "callbacks=no_early_stopping",
        f"callbacks.monitor={monitor}",
        f"callbacks.mode={mode}",
        "trainer.max_epochs=6",
        "model.dropout=0",
    )
    fitted = fit(tmp_path, data, config)
    values = [row[monitor] for row in fitted.history.values()]
    best = (min if mode == "min" else max)(values)
    assert list(fitted.history) == [1, 2, 3, 4, 5, 6]
    assert fitted.best_value == best
    assert fitted.best_epoch == 1 + values.index(best)
    assert (fitted.best_epoch < 6) == monitor.startswith("validation")
    assert not fitted.stopped_early
    assert torch.load(tmp_path / "best.ckpt", weights_only=True)["epoch"] == fitted.best_epoch - 1
    for name, epoch in (("best.ckpt", fitted.best_epoch), ("last.ckpt", 6)):
        row = fitted.history[epoch]
        expected = loss_of(tmp_path / name, data.validation, config["trainer"]["label_smoothing"])
        assert row["validation/loss"] == pytest.approx(expected, abs=1e-5)
        assert row["validation/accuracy"] == pytest.approx(accuracy_of(tmp_path / name, data.validation))


@pytest.mark.parametrize("patience", [1, 2])
@pytest.mark.parametrize("monitor", ["validation/loss", "train/loss"])
def test_training_stops_after_as_many_epochs_without_improvement_as_patience_says(
    tmp_path: Path, monitor: str, patience: int
) -> None:
    config = configured(
        "trainer.max_epochs=6",
        f"callbacks.monitor={monitor}",
        f"callbacks.early_stopping.patience={patience}",
        "callbacks.early_stopping.min_delta=100",
    )
    fitted = fit(tmp_path, data_of(), config)
    assert list(fitted.history) == list(range(1, 1 + patience + 1))
    assert fitted.stopped_early
    # What is too little to go on is still the best.
    assert fitted.best_value == min(row[monitor] for row in fitted.history.values())


def test_the_listener_hears_every_metric_of_the_history(tmp_path: Path) -> None:
    heard: dict[int, dict[str, float]] = {}

    def listen(metrics: Mapping[str, float], epoch: int) -> None:
        heard.setdefault(epoch, {}).update(metrics)

    fitted = fit(tmp_path, data_of(), configured("scheduler=one_cycle"), listen)
    assert heard == fitted.history
    names = {f"{split}/{name}" for split in ("train", "validation") for name in ("loss", "accuracy")}
    assert all(set(row) == {*names, "train/learning_rate"} for row in heard.values())


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("monitor", "mode"), [("validation/loss", "min"), ("validation/accuracy", "max")])
def test_a_training_that_diverges_is_refused(tmp_path: Path, monitor: str, mode: str) -> None:
    config = configured("optimizer=sgd", "optimizer.lr=1e30", f"callbacks.monitor={monitor}", f"callbacks.mode={mode}")
    with pytest.raises(TrainingError, match=r"lower optimizer\.lr"):
        fit(tmp_path, data_of(), config)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.accelerator: gpu needs a GPU that torch can use, got none"):
        fit(tmp_path, data_of(), configured("trainer=gpu"))


@pytest.mark.parametrize(
    ("channels_last", "network", "expected"),
    [
        ("auto", nn.Conv2d(1, 1, 1), True),
        ("auto", nn.Linear(1, 1), False),
        ("always", nn.Linear(1, 1), True),
        ("never", nn.Conv2d(1, 1, 1), False),
    ],
)
def test_channels_last_is_for_networks_that_convolve_unless_said_otherwise(
    channels_last: str, network: nn.Module, expected: bool
) -> None:
    runtime = choose_runtime("cpu", "fp32", channels_last, nn.Sequential(network), 64)
    assert (runtime.accelerator, runtime.precision, runtime.channels_last) == ("cpu", "fp32", expected)


# --- augmentation and prediction --------------------------------------------------------------------------------------


def test_online_augmentation_draws_each_training_image_anew_in_each_epoch(tmp_path: Path) -> None:
    policy = Policy({"noise": {"_target_": "albumentations.GaussNoise", "std_range": [0.1, 0.2], "p": 1.0}})
    given: list[npt.NDArray[np.uint8]] = []

    def note(images: npt.NDArray[np.uint8], seed: Any) -> npt.NDArray[np.uint8]:
        variants = policy(images, seed)
        given.append(variants)
        return variants

    plain = data_of(noise=20)
    data = data_of(noise=20, augment=note)
    config = configured("trainer.max_epochs=6")
    fitted = fit(tmp_path / "online", data, config)
    variants = np.concatenate(given)
    assert len({image.tobytes() for image in variants}) == len(variants) == 6 * 123
    assert fitted.history != fit(tmp_path / "plain", plain, config).history
    expected = loss_of(tmp_path / "online" / "last.ckpt", data.validation, 0.05)
    assert fitted.history[6]["validation/loss"] == pytest.approx(expected, abs=1e-5)
    assert accuracy_of(tmp_path / "online" / "best.ckpt", data.validation) > 0.9


def test_processes_that_load_batches_do_not_change_the_training(tmp_path: Path) -> None:
    policy = Policy({"noise": {"_target_": "albumentations.GaussNoise", "std_range": [0.1, 0.2], "p": 1.0}})
    histories = []
    for workers in (0, 2):
        # Dropout draws too, so that a loader which draws from the same generator would show.
        config = configured(f"trainer.loader_workers={workers}", "model.dropout=0.5")
        histories.append(fit(tmp_path / str(workers), data_of(augment=policy), config).history)
    assert histories[0] == histories[1]
    assert (tmp_path / "0" / "best.ckpt").read_bytes() == (tmp_path / "2" / "best.ckpt").read_bytes()


@pytest.mark.parametrize("batch_size", [1, 7, 31, 100])
def test_predictions_are_the_networks_in_the_order_of_the_images(batch_size: int) -> None:
    torch.manual_seed(0)
    network = build_network(configured("model=cnn")["model"], (1, 8, 8), 3, SHIFT, SCALE).train()
    arrays = data_of().validation
    logits, labels = predict(network, arrays, batch_size)
    np.testing.assert_array_equal(labels.numpy(), arrays[1])
    with torch.no_grad():
        torch.testing.assert_close(logits, network.eval()(as_batch(arrays)[0]))
