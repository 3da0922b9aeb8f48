"""What a network can do: it predicts validation and test images, and scores, tables and pictures tell how well."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagewright.data.loader import Arrays
from imagewright.errors import DataError
from imagewright.evaluation import tables
from imagewright.evaluation.album import Training, draw_inside, draw_test, draw_training
from imagewright.evaluation.prediction import predict
from imagewright.metrics.curves import reliability, roc_curves
from imagewright.metrics.intervals import intervals
from imagewright.metrics.labels import suspected_labels
from imagewright.metrics.scores import score
from imagewright.models.saved import SavedModel

__all__ = ["Images", "Training", "assess"]

# Uncertainty must not differ between two evaluations of the same predictions.
_SEED = 0


@dataclass(frozen=True)
class Images:
    """A split.

    Attributes:
        arrays: images uint8 (N, H, W, C) and labels int64 (N,).
        paths: N, of the images.
    """

    arrays: Arrays
    paths: Sequence[str]


@dataclass(frozen=True)
class _Predicted:
    """A split with logits (N, K) and probabilities, float64 (N, K)."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    paths: Sequence[str]
    logits: torch.Tensor
    probabilities: npt.NDArray[np.float64]


def assess(
    folder: Path,
    model: SavedModel,
    classes: Sequence[str],
    test: Images,
    validation: Images,
    training: Training,
    settings: Mapping[str, Any],
    on_picture: Callable[[str, Path], None],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Predict, score, and write tables and pictures into ``folder``.

    Args:
        folder: gets CSV and PNG files.
        model: the network.
        classes: K names, of the images.
        test: what is scored.
        validation: what is also searched for wrong labels.
        training: what is drawn of it.
        settings: section ``evaluate`` of the configuration.
        on_picture: called with name and file of each picture as soon as it is drawn.

    Returns:
        what :func:`imagewright.metrics.scores.score` gives, with ``intervals`` (name -> low, high), ``confidence`` and
        ``resamples``, and in ``by_class`` ``f1_interval``, ``precision_interval`` and ``recall_interval``; and
        suspected wrong labels: path, split, label, suspected, label_probability, suspected_probability, margin.

    Raises:
        DataError: the model was made for other images, or there are none.
    """
    _check_fits(model, classes, test.arrays)
    tested, validated = (_predicted(model, split, settings["batch_size"]) for split in (test, validation))
    scores = _scores(tested, model.classes, settings)
    suspects = _suspects({"test": tested, "validation": validated}, model.classes)
    bins = reliability(tested.probabilities, tested.labels, settings["calibration_bins"])
    curves = roc_curves(tested.probabilities, tested.labels)
    tables.write_predictions(
        folder / "predictions.csv", tested.paths, tested.labels, tested.probabilities, model.classes
    )
    tables.write_suspects(folder / "suspected_labels.csv", suspects)
    tables.write_class_scores(folder / "class_scores.csv", scores["by_class"])
    tables.write_reliability(folder / "reliability.csv", bins)
    tables.write_roc(folder / "roc.csv", curves, model.classes)
    known = tested.images, tested.labels, tested.probabilities
    sizes = {"most": settings["gallery"], "dpi": settings["dpi"]}
    for drawn in (
        draw_training(folder, training, model, **sizes),
        draw_test(folder, scores, bins, curves, *known, tested.paths, model.classes, **sizes),
        draw_inside(folder, model, *known, dpi=settings["dpi"]),
    ):
        for name in drawn:
            on_picture(name, folder / f"{name}.png")
    return scores, suspects


def _check_fits(model: SavedModel, classes: Sequence[str], test: Arrays) -> None:
    height, width, channels = test[0].shape[1:]
    if not len(test[1]):
        raise DataError("test: has no images to score; make data.split.test larger")
    if model.classes != list(classes) or model.input_shape != (channels, height, width):
        raise DataError(
            f"the model knows {len(model.classes)} classes and images of (C, H, W) {model.input_shape}, the test "
            f"split has {len(classes)} classes and {(channels, height, width)}; run `dvc repro`"
        )


def _predicted(model: SavedModel, split: Images, batch_size: int) -> _Predicted:
    logits, labels = predict(model.network, split.arrays, batch_size)
    return _Predicted(split.arrays[0], labels.numpy(), split.paths, logits, logits.double().softmax(1).numpy())


def _scores(tested: _Predicted, classes: list[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """All scores, each beside its interval."""
    same = {"top_k": settings["top_k"], "bins": settings["calibration_bins"]}
    scores = score(tested.logits, torch.from_numpy(tested.labels), classes, **same)
    uncertainty = {name: settings[name] for name in ("confidence", "resamples")}
    found = intervals(tested.probabilities, tested.labels, seed=_SEED, **uncertainty, **same)
    for number, row in enumerate(scores["by_class"].values()):
        row |= {f"{name}_interval": list(pairs[number]) for name, pairs in found["by_class"].items()}
    return {
        **scores,
        "intervals": {name: list(pair) for name, pair in found["scores"].items() if pair},
        **uncertainty,
    }


def _suspects(splits: Mapping[str, _Predicted], classes: list[str]) -> list[dict[str, Any]]:
    """Images whose label is probably wrong, the most suspicious first."""
    found = [
        {
            "path": split.paths[suspect.row],
            "split": name,
            "label": classes[suspect.label],
            "suspected": classes[suspect.suspected],
            "label_probability": suspect.label_probability,
            "suspected_probability": suspect.suspected_probability,
            "margin": suspect.margin,
        }
        for name, split in splits.items()
        if len(split.labels)
        for suspect in suspected_labels(split.probabilities, split.labels)
    ]
    return sorted(found, key=lambda row: -float(row["margin"]))
