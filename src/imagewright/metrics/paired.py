"""Two classifiers on the same images: is one better, or was it luck?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import vstack
from scipy.stats import binomtest

from imagewright.metrics.bootstrap import intervals_of_columns, resampled, totals_by
from imagewright.metrics.counts import Counts

__all__ = ["Difference", "McNemar", "PairedBootstrap", "mcnemar", "paired_bootstrap"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# Differences of float64 scores that are smaller come from rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class McNemar:
    """Images that one of two classifiers has right and the other wrong.

    Attributes:
        only_a: only A has right.
        only_b: only B has right.
        p_value: how likely a split at least as uneven is, if each of these images fell to A or B with equal chances.
    """

    only_a: int
    only_b: int
    p_value: float


@dataclass(frozen=True)
class Difference:
    """How much higher a score of B is than that of A.

    Attributes:
        difference: B - A on all images.
        low: end of its interval.
        high: end of its interval.
        p_value: two-sided: twice the share of the resamples in which the difference is 0 or has the rarer sign; at
            least 1 / (resamples + 1), at most 1.
    """

    difference: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class PairedBootstrap:
    """Differences of two classifiers.

    Attributes:
        accuracy: of all images.
        f1_macro: over the classes.
        f1_by_class: of each of K classes. Of K p-values, the smallest is small by chance alone.
    """

    accuracy: Difference
    f1_macro: Difference
    f1_by_class: list[Difference]


def mcnemar(right_a: npt.NDArray[np.bool_], right_b: npt.NDArray[np.bool_]) -> McNemar:
    """McNemar's test of equal accuracy in its exact form, a two-sided binomial test.

    Q. McNemar: Note on the sampling error of the difference between correlated proportions or percentages.
    Psychometrika 12 (1947).

    Args:
        right_a: whether A has an image right, (N,).
        right_b: whether B has it right, (N,).
    """
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    differing = only_a + only_b
    return McNemar(only_a, only_b, float(binomtest(only_a, differing).pvalue) if differing else 1.0)


def paired_bootstrap(
    labels: Labels,
    predicted_a: Labels,
    predicted_b: Labels,
    num_classes: int,
    *,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PairedBootstrap:
    """Differences of accuracy and F1 over resamples of the images, the same for both classifiers.

    Macro F1 is over the classes that have a sample or a prediction in the resample, as in
    :func:`imagewright.metrics.scores.score`; each classifier has its own predictions there.

    Args:
        labels: (N,).
        predicted_a: classes, (N,).
        predicted_b: classes, (N,).
        num_classes: K.
        resamples: how many, see :mod:`imagewright.metrics.bootstrap`.
        confidence: share of the resamples within an interval, between 0 and 1.
        seed: of the draws.
    """
    parts = [totals_by(labels, num_classes)]
    for predicted in (predicted_a, predicted_b):
        parts += [totals_by(labels, num_classes, predicted == labels), totals_by(predicted, num_classes)]
    statistics = vstack(parts, "csr")
    on_all = _differences(np.asarray(statistics.sum(1))[None], num_classes)
    drawn = _differences(resampled(statistics, resamples, seed), num_classes)
    accuracy, f1_macro, *f1_by_class = (
        Difference(difference, low, high, _p_value(values))
        for difference, (low, high), values in zip(
            on_all[0].tolist(), intervals_of_columns(drawn, confidence), drawn.T, strict=True
        )
    )
    return PairedBootstrap(accuracy, f1_macro, f1_by_class)


def _differences(totals: Floats, num_classes: int) -> Floats:
    """B - A: of accuracy, of macro F1, of F1 of each class.

    Args:
        totals: samples; hits and predictions of A; hits and predictions of B, (R, 5 K).
        num_classes: K.

    Returns:
        (R, 2 + K).
    """
    samples, hits_a, predictions_a, hits_b, predictions_b = totals.reshape(-1, 5, num_classes).swapaxes(0, 1)
    a, b = Counts(hits_a, samples, predictions_a), Counts(hits_b, samples, predictions_b)
    totalled = [b.accuracy() - a.accuracy(), b.macro(b.f1) - a.macro(a.f1)]
    differences = np.column_stack([*totalled, b.f1 - a.f1])
    differences[np.abs(differences) < _ROUNDING] = 0
    return differences


def _p_value(values: Floats) -> float:
    rarer = min(int((values <= 0).sum()), int((values >= 0).sum()))
    return min(max(2 * rarer / len(values), 1 / (len(values) + 1)), 1.0)
