"""Curves on how far the probabilities of a classifier can be trusted: reliability, and ROC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["BELOW_ONE", "Bin", "RocCurve", "bin_numbers", "reliability", "roc_curves"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# The largest number of float32 below 1.
BELOW_ONE = 1 - 2.0**-24

_MOST_POINTS = 500


@dataclass(frozen=True)
class Bin:
    """Images whose confidence, the largest of their probabilities, lies within a range.

    Attributes:
        lower: end of the range, which belongs to it.
        upper: end of the range, which belongs to the next; 1 belongs to the last.
        count: of the images.
        confidence: their mean; None without images.
        accuracy: of them; None without images.
    """

    lower: float
    upper: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, eq=False)
class RocCurve:
    """A curve from (0, 0) to (1, 1), a point for each threshold that makes a corner.

    Attributes:
        false_positives: share of the images of other classes at or above the threshold, (P,).
        true_positives: share of the images of the class at or above the threshold, (P,).
    """

    false_positives: Floats
    true_positives: Floats


def bin_numbers(confidences: Floats, bins: int) -> Labels:
    """In which bin of equal width each confidence lies.

    Confidences are compared in float32, as torchmetrics does, so that both take one that lies on an edge for the same.

    Args:
        confidences: from 0 to 1, (N,).
        bins: how many.

    Returns:
        from 0 to bins - 1, (N,).
    """
    rounded = np.minimum(confidences, BELOW_ONE).astype(np.float32).astype(np.float64)
    return np.searchsorted(np.linspace(0, 1, bins + 1), rounded, side="right") - 1


def reliability(probabilities: Floats, labels: Labels, bins: int = 15) -> list[Bin]:
    """Confidence beside accuracy; the expected calibration error is the mean of their distances, weighted by count.

    Args:
        probabilities: (N, K).
        labels: (N,).
        bins: how many, of equal width.

    Returns:
        all bins, from 0 to 1.
    """
    confidences, right = probabilities.max(1), probabilities.argmax(1) == labels
    numbers = bin_numbers(confidences, bins)
    edges = np.linspace(0, 1, bins + 1).tolist()
    columns = (np.bincount(numbers, weights, bins).tolist() for weights in (None, confidences, right))
    return [
        Bin(lower, upper, count, sure / count if count else None, hits / count if count else None)
        for lower, upper, count, sure, hits in zip(edges[:-1], edges[1:], *columns, strict=True)
    ]


def roc_curves(probabilities: Floats, labels: Labels) -> list[RocCurve | None]:
    """The ROC curve of each class against the rest.

    Points on a straight line between others are left out. Of more than 500 corners so many are kept, at even distances
    along the curve: the corners left out lie within 1/200 of the lines.

    Args:
        probabilities: (N, K).
        labels: (N,).

    Returns:
        K curves; None for a class unless there are images of it and of other classes.
    """
    return [_roc_curve(values, labels == index) for index, values in enumerate(probabilities.T)]


def _roc_curve(values: Floats, own: npt.NDArray[np.bool_]) -> RocCurve | None:
    positives = int(own.sum())
    negatives = len(own) - positives
    if not positives or not negatives:
        return None
    order = np.argsort(-values, kind="stable")
    # Images of equal values pass a threshold together.
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(own) - 1)
    true = np.append(0, np.cumsum(own[order])[ends])
    false = np.append(0, 1 + ends) - true
    kept = _corners(false, true)
    curve = RocCurve(false[kept] / negatives, true[kept] / positives)
    if len(kept) <= _MOST_POINTS:
        return curve
    # Both shares only grow, so their sum is a measure of the way.
    way = curve.false_positives + curve.true_positives
    thinned = np.unique(np.searchsorted(way, np.linspace(0, way[-1], _MOST_POINTS)))
    return RocCurve(curve.false_positives[thinned], curve.true_positives[thinned])


def _corners(across: Labels, up: Labels) -> Labels:
    """Indices of the first and the last point of a path, and of those where it changes its direction."""
    right, rise = np.diff(across), np.diff(up)
    turns = right[:-1] * rise[1:] != rise[:-1] * right[1:]
    return np.flatnonzero(np.concatenate(([True], turns, [True])))
