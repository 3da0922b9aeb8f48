"""Tables of an evaluation, as CSV files: for people, for `imagewright compare`, and for DVC's plots."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewright.metrics.curves import Bin, RocCurve

__all__ = ["write_class_scores", "write_predictions", "write_reliability", "write_roc", "write_suspects"]

# Digits that a number of 32 bits has.
_DIGITS = 9


def write_predictions(
    path: Path,
    paths: Sequence[str],
    labels: npt.NDArray[np.int64],
    probabilities: npt.NDArray[np.float64],
    classes: Sequence[str],
) -> None:
    """One line for each image: path, label, prediction, confidence, and the probability of each class.

    Args:
        path: of the file.
        paths: N, of the images.
        labels: int64, (N,).
        probabilities: (N, K).
        classes: K names.
    """
    rows = (
        (name, classes[label], classes[guess], *(f"{value:.{_DIGITS}g}" for value in (values[guess], *values)))
        for name, label, guess, values in zip(paths, labels, probabilities.argmax(1), probabilities, strict=True)
    )
    _write(path, ("path", "label", "prediction", "confidence", *(f"p({name})" for name in classes)), rows)


def write_suspects(path: Path, suspects: Iterable[Mapping[str, Any]]) -> None:
    """Suspected wrong labels, the most suspicious first."""
    columns = ("path", "split", "label", "suspected", "label_probability", "suspected_probability", "margin")
    _write(path, columns, ([row[column] for column in columns] for row in suspects))


def write_class_scores(path: Path, by_class: Mapping[str, Mapping[str, Any]]) -> None:
    """Scores of each class, the lowest F1 first."""
    columns = ("f1", "precision", "recall", "support", "roc_auc", "average_precision")
    ordered = sorted(by_class.items(), key=lambda item: item[1]["f1"])
    _write(path, ("class", *columns), ((name, *(row[column] for column in columns)) for name, row in ordered))


def write_reliability(path: Path, bins: Sequence[Bin]) -> None:
    """Mean confidence and accuracy of each bin that has images."""
    _write(
        path,
        ("confidence", "accuracy", "images"),
        ((one.confidence, one.accuracy, one.count) for one in bins if one.count),
    )


def write_roc(path: Path, curves: Sequence[RocCurve | None], classes: Sequence[str]) -> None:
    """The corners of each class's curve."""
    rows = (
        (name, across, up)
        for name, curve in zip(classes, curves, strict=True)
        if curve is not None
        for across, up in zip(curve.false_positives.tolist(), curve.true_positives.tolist(), strict=True)
    )
    _write(path, ("class", "false_positive_rate", "true_positive_rate"), rows)


def _write(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)
