"""How sure the scores of a split are: intervals by the bootstrap."""

from __future__ import annotations

from typing import TypedDict

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, vstack

from imagewright.metrics.bootstrap import interval, intervals_of_columns, resampled, totals_by
from imagewright.metrics.counts import Counts
from imagewright.metrics.curves import bin_numbers

__all__ = ["Intervals", "intervals"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

_SMALLEST = np.finfo(np.float64).tiny


class Intervals(TypedDict):
    """Lower and upper ends: of each score by its name, and of f1, precision and recall for each of K classes."""

    scores: dict[str, tuple[float, float] | None]
    by_class: dict[str, list[tuple[float, float]]]


def intervals(
    probabilities: Floats,
    labels: Labels,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    top_k: int = 3,
    bins: int = 15,
) -> Intervals:
    """Percentile intervals of the scores over resamples of the images, see :mod:`imagewright.metrics.bootstrap`.

    They say how far the scores would move with other test images of the same kind, not with another training. In each
    resample a score is what :func:`imagewright.metrics.scores.score` makes of it, where classes that the resample
    lacks are treated by the same rules; resamples without a value of Cohen's kappa are left out, and it has None if
    all are. ROC-AUC and average precision have no interval: a sort for each class and resample would take longer than
    all the rest. An accuracy of exactly 0 or 1 has an interval without width, since no resample has another. The
    calibration error of a resample tends to be larger than that of the images, since chance adds to the distance of
    each bin.

    Memory is 8 bytes for each resample and each of about six numbers a class, whatever N.

    Args:
        probabilities: (N, K).
        labels: (N,).
        resamples: how many.
        confidence: share of the resamples within an interval, between 0 and 1.
        seed: of the draws.
        top_k: k of ``accuracy_top_<k>``; left out unless k < K.
        bins: of the calibration error.

    Returns:
        scores: accuracy, accuracy_top_<k>, f1_macro, f1_weighted, precision_macro, precision_weighted, recall_macro,
        recall_weighted, loss (where a probability is below 2e-308, it counts as that), brier, calibration_error,
        cohen_kappa, matthews_correlation; by_class: f1, precision, recall of each class.
    """
    images, size = probabilities.shape
    predicted, confidences = probabilities.argmax(1), probabilities.max(1)
    own = probabilities[np.arange(images), labels]
    right = predicted == labels
    means = {
        "loss": -np.log(np.maximum(own, _SMALLEST)),
        "brier": np.square(probabilities).sum(1) - 2 * own + 1,
    }
    if top_k < size:
        means[f"accuracy_top_{top_k}"] = (_places(probabilities, labels, own) < top_k).astype(np.float64)
    parts = [
        totals_by(labels, size, right),
        totals_by(labels, size),
        totals_by(predicted, size),
        totals_by(bin_numbers(confidences, bins), bins, confidences - right),
        csr_array(np.stack(list(means.values()))),
    ]
    totals = resampled(vstack(parts, "csr"), resamples, seed)
    hits, samples, predictions, gaps, sums = np.split(totals, np.cumsum([part.shape[0] for part in parts[:-1]]), axis=1)
    counts = Counts(hits, samples, predictions)
    by_class = {"f1": counts.f1, "precision": counts.precision, "recall": counts.recall}
    values = {
        "accuracy": counts.accuracy(),
        **{f"{name}_macro": counts.macro(each) for name, each in by_class.items()},
        **{f"{name}_weighted": counts.weighted(each) for name, each in by_class.items()},
        **dict(zip(means, sums.T / images, strict=True)),
        "calibration_error": np.abs(gaps).sum(1) / images,
        "cohen_kappa": counts.kappa(),
        "matthews_correlation": counts.matthews(),
    }
    return {
        "scores": {name: interval(each, confidence) for name, each in values.items()},
        "by_class": {name: intervals_of_columns(each, confidence) for name, each in by_class.items()},
    }


def _places(probabilities: Floats, labels: Labels, own: Floats) -> npt.NDArray[np.int64]:
    """How many classes come before that of the label; of equal probabilities the first class comes first, (N,)."""
    places = np.zeros(len(labels), np.int64)
    for index, values in enumerate(probabilities.T):
        places += (values > own) | ((values == own) & (index < labels))
    return places
