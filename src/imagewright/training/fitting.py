"""Fits a classifier and keeps its best and its last epoch."""

from __future__ import annotations

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from imagewright import targets
from imagewright.data.loader import Arrays, Augment, ImageBatches, make_loader
from imagewright.errors import ConfigError, TrainingError
from imagewright.memory import keep_memory
from imagewright.training.classifier import Classifier
from imagewright.training.history import History, OnMetrics
from imagewright.training.progress import Progress
from imagewright.training.runtime import Runtime, choose_runtime

__all__ = ["Fitted", "TrainingData", "fit"]


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on.

    Attributes:
        train: arrays of training images; several count as one after the other.
        validation: arrays of the validation images.
        classes: K names.
        shift: of the input normalization, C numbers.
        scale: of the input normalization, C numbers.
        preprocessing: what brought the images to their shape: fit, background, value_range, max_pixels and min_side.
        augment: draws a variant of each image of a training batch, or None.
    """

    train: list[Arrays]
    validation: Arrays
    classes: list[str]
    shift: list[float]
    scale: list[float]
    preprocessing: Mapping[str, Any]
    augment: Augment | None = None

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """The shape (C, H, W) of an image."""
        height, width, channels = self.validation[0].shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Fitted:
    """What a training gave.

    Attributes:
        history: epoch, counted from 1 -> metrics by name.
        best_epoch: the epoch that ``best.ckpt`` holds, counted from 1.
        best_value: the monitored metric in it.
        stopped_early: whether early stopping ended the training.
        runtime: what it ran on.
        images_per_second: training images in a second of training, validation included.
    """

    history: dict[int, dict[str, float]]
    best_epoch: int
    best_value: float
    stopped_early: bool
    runtime: Runtime
    images_per_second: float


def fit(folder: Path, data: TrainingData, config: Mapping[str, Any], on_metrics: OnMetrics | None = None) -> Fitted:
    """Train, and write ``best.ckpt`` and ``last.ckpt`` into ``folder``.

    Args:
        folder: is made if it is missing.
        data: images and what belongs to them.
        config: the sections model, optimizer, scheduler, trainer and callbacks, and seed.
        on_metrics: is called with the metrics of each epoch.

    Raises:
        ConfigError: the sections do not fit the data or this machine.
    """
    keys, seed = config["trainer"], config["seed"]
    _quieten()
    pl.seed_everything(seed, verbose=False)
    # With deterministic algorithms, torch fills each new tensor before it is written; no layer reads one unwritten.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    classifier = _classifier(data, config)
    _, height, width = data.input_shape
    runtime = choose_runtime(
        keys["accelerator"], keys["precision"], keys["channels_last"], classifier, height * width, keys["threads"]
    )
    if runtime.channels_last:
        classifier.to(memory_format=torch.channels_last)
    train = ImageBatches(data.train, data.augment, seed, channels_last=runtime.channels_last)
    validation = ImageBatches([data.validation], channels_last=runtime.channels_last)
    loading = {"batch_size": keys["batch_size"], "pin_memory": runtime.accelerator == "gpu"}
    history = History(on_metrics)
    trainer = _trainer(folder, config, runtime, history)
    keep_memory()
    start = time.perf_counter()
    with _threads(runtime.threads), _interrupts():
        trainer.fit(
            classifier,
            make_loader(train, shuffle=True, seed=seed, workers=keys["loader_workers"], **loading),
            make_loader(validation, **loading),
        )
    seconds = time.perf_counter() - start
    monitor = config["callbacks"]["monitor"]
    best_epoch = _best_epoch(history.rows, monitor, config["callbacks"]["mode"])
    return Fitted(
        history=history.rows,
        best_epoch=best_epoch,
        best_value=history.rows[best_epoch][monitor],
        stopped_early=len(history.rows) < keys["max_epochs"],
        runtime=runtime,
        images_per_second=len(train) * len(history.rows) / seconds,
    )


@contextmanager
def _interrupts() -> Iterator[None]:
    """Lightning turns Ctrl-C into the end of the process with status 1."""
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from ended
        raise


@contextmanager
def _threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _classifier(data: TrainingData, config: Mapping[str, Any]) -> Classifier:
    keys = config["trainer"]
    described = {
        "network": config["model"],
        "input_shape": data.input_shape,
        "classes": data.classes,
        "shift": data.shift,
        "scale": data.scale,
        "preprocessing": data.preprocessing,
        "optimizer": config["optimizer"],
        "scheduler": config["scheduler"],
        "class_weights": _balanced(data) if keys["class_weights"] == "balanced" else None,
        "label_smoothing": keys["label_smoothing"],
    }
    # Through JSON, so that equal configurations give equal bytes: pickle writes a text that two places share only once.
    return Classifier(**json.loads(json.dumps(described)))


def _trainer(folder: Path, config: Mapping[str, Any], runtime: Runtime, history: History) -> pl.Trainer:
    keys = config["trainer"]
    return pl.Trainer(
        accelerator=runtime.accelerator,
        devices=1,
        precision=runtime.lightning_precision,  # type: ignore[arg-type]
        max_epochs=keys["max_epochs"],
        gradient_clip_val=keys["gradient_clip"],
        deterministic=keys["deterministic"],
        callbacks=[*_callbacks(folder, config["callbacks"]).values(), Progress()],
        logger=history,
        log_every_n_steps=1_000_000,  # metrics are those of whole epochs
        num_sanity_val_steps=0,
        enable_model_summary=False,
        plugins=[_CheckpointFiles()],
    )


def _best_epoch(history: Mapping[int, Mapping[str, float]], monitor: str, mode: str) -> int:
    """The first of the best epochs, as ModelCheckpoint keeps it."""
    worst = math.inf if mode == "min" else -math.inf
    values = {epoch: worst if math.isnan(row[monitor]) else row[monitor] for epoch, row in history.items()}
    best = (min if mode == "min" else max)(values, key=values.__getitem__)
    for name in (monitor, "train/loss", "validation/loss"):
        if not math.isfinite(history[best][name]):
            raise TrainingError(
                f"{name}: is not a finite number in the best epoch ({best}), got {history[best][name]}, so no model is "
                f"worth keeping; lower optimizer.lr, or set trainer.gradient_clip"
            )
    return best


def _callbacks(folder: Path, section: Mapping[str, Any]) -> dict[str, pl.Callback]:
    """The callbacks of the section; what they watch and where they write is the same for all, so it is added here."""
    watch = {"monitor": section["monitor"], "mode": section["mode"]}
    here = {"dirpath": str(folder), "enable_version_counter": False}
    added: dict[str, dict[str, Any]] = {
        "early_stopping": {**watch, "check_on_train_epoch_end": section["monitor"].startswith("train/")},
        "best": {**watch, **here, "filename": "best"},
        "last": {**here, "filename": "last", "save_top_k": 1},
    }
    built = {}
    for name, node in section.items():
        if isinstance(node, dict):
            built[name] = targets.build("callbacks", node, **added.get(name, {}))
    return built


def _balanced(data: TrainingData) -> list[float]:
    """N / (K * images of the class), scikit-learn's "balanced"."""
    counts = np.bincount(np.concatenate([labels for _, labels in data.train]), minlength=len(data.classes))
    if counts.min() == 0:
        raise ConfigError(
            f"trainer.class_weights: balanced needs a training image of each class, got none of "
            f"{data.classes[int(counts.argmin())]!r}; choose none, or add images"
        )
    weights: list[float] = (counts.sum() / (len(counts) * counts)).tolist()
    return weights


class _CheckpointFiles(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it.

    Lightning's own writer goes through the temporary folder of the system: if that is another file system, a kill or a
    full disk also destroys the checkpoint that was there.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        final = Path(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        partial = final.with_suffix(".partial")
        # A buffer name, because torch writes the name of the file into it, and equal weights must give equal bytes.
        with partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(final)


def _quieten() -> None:
    """Silence what Lightning says for other set-ups than this one."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    for useless in (
        ".*does not have many workers.*",  # batches are taken whole, so that workers do not gain anything
        ".*smaller than the logging interval.*",  # metrics are those of whole epochs
        ".*exists and is not empty.*",
        ".*treespec, LeafSpec.*",  # Lightning's own use of a deprecated name of torch
    ):
        warnings.filterwarnings("ignore", useless)
