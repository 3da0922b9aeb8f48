"""All pictures of an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagewright.evaluation.charts import draw_class_scores, draw_curves, draw_reliability, draw_roc
from imagewright.evaluation.confusion import draw_confusion_matrix
from imagewright.evaluation.galleries import (
    confident_mistakes,
    draw_batch,
    draw_least_sure,
    draw_mistakes,
)
from imagewright.evaluation.insides import draw_feature_maps, draw_grad_cam, draw_kernels
from imagewright.metrics.curves import Bin, RocCurve
from imagewright.models.inside import feature_maps, first_kernels, grad_cam
from imagewright.models.saved import SavedModel

__all__ = ["Training", "draw_inside", "draw_test", "draw_training"]

# Hits, and mistakes, under Grad-CAM.
_LOOKED_AT = 6


@dataclass(frozen=True)
class Training:
    """What is drawn of a training.

    Attributes:
        history: epoch, counted from 1 -> metrics by name.
        monitor: the metric that chose the best epoch.
        best_epoch: whose weights were kept.
        stopped_early: whether early stopping ended it.
        images: of its first batch, augmented, uint8 (B, H, W, C).
        labels: of its first batch, (B,).
    """

    history: Mapping[int, Mapping[str, float]]
    monitor: str
    best_epoch: int
    stopped_early: bool
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def draw_training(folder: Path, training: Training, model: SavedModel, *, most: int, dpi: int) -> Iterator[str]:
    """Draw the curves, and the first batch as the network sees it; yields the name of each picture.

    Args:
        folder: gets the PNG files.
        training: what is drawn.
        model: that came of it.
        most: images of the batch.
        dpi: resolution.
    """
    draw_curves(
        folder / "curves.png",
        training.history,
        monitor=training.monitor,
        best_epoch=training.best_epoch,
        stopped_early=training.stopped_early,
        dpi=dpi,
    )
    yield "curves"
    normalization = model.network.get_submodule("0")
    shift = normalization.get_buffer("shift").flatten().tolist()
    scale = (1 / normalization.get_buffer("inverse_scale").double()).flatten().tolist()
    draw_batch(
        folder / "batch.png",
        training.images,
        training.labels.tolist(),
        shift,
        scale,
        model.classes,
        most=most,
        dpi=dpi,
    )
    yield "batch"


def draw_test(
    folder: Path,
    scores: Mapping[str, Any],
    bins: Sequence[Bin],
    curves: Sequence[RocCurve | None],
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    paths: Sequence[str],
    classes: Sequence[str],
    *,
    most: int,
    dpi: int,
) -> Iterator[str]:
    """Draw what the scores say, and the images behind them; yields the name of each picture.

    Args:
        folder: gets the PNG files.
        scores: see :func:`imagewright.metrics.scores.score`.
        bins: of the confidence.
        curves: one for each class.
        images: uint8 (N, H, W, C).
        labels: int64 (N,).
        probabilities: (N, K).
        paths: N, of the images.
        classes: K names.
        most: images in a gallery.
        dpi: resolution.
    """
    draw_confusion_matrix(folder / "confusion_matrix.png", scores["confusion_matrix"], classes, dpi=dpi)
    yield "confusion_matrix"
    draw_class_scores(folder / "class_scores.png", scores["by_class"], macro=scores["f1_macro"], dpi=dpi)
    yield "class_scores"
    draw_reliability(folder / "reliability.png", bins, scores["calibration_error"], dpi=dpi)
    yield "reliability"
    areas = [row["roc_auc"] for row in scores["by_class"].values()]
    draw_roc(folder / "roc.png", curves, areas, classes, dpi=dpi)
    yield "roc"
    for name, draw in (("mistakes", draw_mistakes), ("least_sure", draw_least_sure)):
        draw(folder / f"{name}.png", images, labels, probabilities, classes, paths=paths, most=most, dpi=dpi)
        yield name


def draw_inside(
    folder: Path,
    model: SavedModel,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    *,
    dpi: int,
) -> Iterator[str]:
    """Draw what the network is made of and what it makes of images, as far as it is of a kind that shows it.

    Yields the name of each picture.

    Args:
        folder: gets the PNG files.
        model: the network, in evaluation mode.
        images: uint8 (N, H, W, C).
        labels: int64 (N,).
        probabilities: (N, K).
        dpi: resolution.
    """
    kernels = first_kernels(model.network, model.input_shape)
    if kernels is not None:
        draw_kernels(folder / "kernels.png", kernels, dpi=dpi)
        yield "kernels"
    guesses = probabilities.argmax(1)
    sure = _sure_hits(labels, probabilities, _LOOKED_AT)
    shown = [*sure, *confident_mistakes(probabilities, labels, _LOOKED_AT)]
    first = shown[0]
    maps = feature_maps(model.network, _tensor(images[[first]]))
    if maps:
        words = f"class {model.classes[labels[first]]}, predicted {model.classes[guesses[first]]}"
        draw_feature_maps(folder / "feature_maps.png", images[first], maps, words=words, dpi=dpi)
        yield "feature_maps"
    heat = grad_cam(model.network, _tensor(images[shown]), torch.from_numpy(guesses[shown]))
    if heat is not None:
        draw_grad_cam(
            folder / "grad_cam.png",
            images[shown],
            heat,
            labels[shown].tolist(),
            guesses[shown].tolist(),
            model.classes,
            confidences=probabilities[shown, guesses[shown]].tolist(),
            dpi=dpi,
        )
        yield "grad_cam"


def _tensor(images: npt.NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def _sure_hits(labels: npt.NDArray[np.int64], probabilities: npt.NDArray[np.float64], most: int) -> list[int]:
    """The surest hit of each class, in the order of the classes, then the next of each."""
    guesses = probabilities.argmax(1)
    hits = np.flatnonzero(guesses == labels)
    by_class = [
        sorted(hits[guesses[hits] == label].tolist(), key=lambda row: -probabilities[row, guesses[row]])
        for label in range(probabilities.shape[1])
    ]
    deepest = max(map(len, by_class))
    return [rows[depth] for depth in range(deepest) for rows in by_class if depth < len(rows)][:most]
