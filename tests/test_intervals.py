"""Bootstrap intervals, compared with scikit-learn's scores of the same resamples."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    matthews_corrcoef,
    precision_recall_fscore_support,
)

from guesses import CASES, Case, guesses, softmax
from imagewright.metrics.intervals import Intervals, intervals
from imagewright.metrics.scores import score

NEAR = {"rel": 0, "abs": 1e-6}

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def found(probabilities: Floats, labels: Labels, **options: float) -> Intervals:
    settings = {"resamples": 25, "confidence": 0.9, "seed": 3, "top_k": 2, "bins": 15} | options
    return intervals(probabilities, labels, **settings)  # type: ignore[arg-type]


def scikit_learns(probabilities: Floats, labels: Labels) -> dict[str, float]:
    """Scores of a resample; those of a class with its number behind a slash."""
    predicted = probabilities.argmax(axis=1)
    every = range(probabilities.shape[1])
    occurring = sorted({*labels.tolist(), *predicted.tolist()})
    scores = {"accuracy": accuracy_score(labels, predicted)}
    names = ("precision", "recall", "f1")
    for average in ("macro", "weighted"):
        values = precision_recall_fscore_support(labels, predicted, labels=occurring, average=average, zero_division=0)
        scores |= {f"{name}_{average}": value for name, value in zip(names, values, strict=False)}
    each = precision_recall_fscore_support(labels, predicted, labels=list(every), average=None, zero_division=0)
    scores |= {
        f"{name}/{index}": value
        for name, values in zip(names, each, strict=False)
        for index, value in enumerate(values)
    }
    if len(occurring) == 1:
        return scores | {"matthews_correlation": 0}
    scores["cohen_kappa"] = cohen_kappa_score(labels, predicted)
    return scores | {"matthews_correlation": matthews_corrcoef(labels, predicted)}


def plain(probabilities: Floats, labels: Labels, top_k: int, bins: int) -> dict[str, float]:
    """Scores of a resample that scikit-learn does not have, or has under other rules."""
    rows = np.arange(len(labels))
    scores = {
        "loss": -np.log(probabilities[rows, labels]).mean(),
        "brier": ((probabilities - np.eye(probabilities.shape[1])[labels]) ** 2).sum(axis=1).mean(),
    }
    if top_k < probabilities.shape[1]:
        first = np.argsort(-probabilities, axis=1, kind="stable")[:, :top_k]
        scores[f"accuracy_top_{top_k}"] = (first == labels[:, None]).any(axis=1).mean()
    confidences, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    number = np.minimum(np.floor(confidences.astype(np.float32).astype(np.float64) * bins), bins - 1)
    scores["calibration_error"] = sum(
        abs(confidences[number == each].sum() - right[number == each].sum()) for each in range(bins)
    ) / len(labels)
    return scores


@pytest.mark.parametrize("case", CASES)
def test_the_intervals_are_quantiles_of_the_scores_of_the_same_resamples(case: Case) -> None:
    _, probabilities, labels = guesses(case)
    values: dict[str, list[float]] = defaultdict(list)
    random = np.random.default_rng(3)
    for _ in range(25):
        rows = random.integers(0, case.size, case.size)
        one = scikit_learns(probabilities[rows], labels[rows]) | plain(probabilities[rows], labels[rows], 2, 15)
        for name, value in one.items():
            values[name].append(value)
    given = found(probabilities, labels)
    flat = dict(given["scores"])
    for name, each in given["by_class"].items():
        flat |= {f"{name}/{index}": ends for index, ends in enumerate(each)}
    assert set(values) | {"cohen_kappa"} == set(flat)
    for name, ends in flat.items():
        expected = pytest.approx(np.quantile(values[name], [0.05, 0.95]), **NEAR) if name in values else None
        assert (None if ends is None else list(ends)) == expected, name


def test_every_score_of_a_split_lies_within_its_interval() -> None:
    logits, probabilities, labels = guesses(Case(500, 6))
    names = [str(index) for index in range(6)]
    scores = score(torch.from_numpy(logits), torch.from_numpy(labels), names, top_k=2)
    given = found(probabilities, labels, resamples=500, confidence=0.99)
    # The calibration error of a resample is larger, since chance adds to each distance.
    for name in set(given["scores"]) - {"calibration_error"}:
        low, high = given["scores"][name]
        assert low < scores[name] < high, name
    for name, each in given["by_class"].items():
        for row, (low, high) in zip(scores["by_class"].values(), each, strict=True):
            assert low < row[name] < high
    without = {name for name, value in scores.items() if isinstance(value, float)} - set(given["scores"])
    assert without == {"roc_auc_macro", "average_precision_macro"}


@pytest.mark.parametrize(
    ("share", "confidence", "deviations"), [(0.5, 0.95, 1.96), (0.9, 0.95, 1.96), (0.8, 0.8, 1.2816)]
)
def test_the_interval_of_the_accuracy_is_that_of_a_normal_distribution_when_images_are_many(
    share: float, confidence: float, deviations: float
) -> None:
    size = 4000
    labels = np.zeros(size, np.int64)
    labels[round(share * size) :] = 1
    low, high = found(np.tile([0.7, 0.3], (size, 1)), labels, resamples=4000, confidence=confidence)["scores"][
        "accuracy"
    ]
    half = deviations * np.sqrt(share * (1 - share) / size)
    assert low == pytest.approx(share - half, abs=0.1 * half)
    assert high == pytest.approx(share + half, abs=0.1 * half)


def test_equal_seeds_give_equal_intervals_and_others_do_not() -> None:
    _, probabilities, labels = guesses(Case(100, 3))
    first = found(probabilities, labels)
    assert found(probabilities, labels) == first
    assert found(probabilities, labels, seed=4) != first


def test_more_confidence_gives_wider_intervals() -> None:
    _, probabilities, labels = guesses(Case(100, 3))
    narrow, wide = (found(probabilities, labels, resamples=300, confidence=share)["scores"] for share in (0.5, 0.99))
    for name, (low, high) in narrow.items():
        assert wide[name][0] < low < high < wide[name][1], name


def test_kappa_has_no_interval_if_all_is_of_one_class() -> None:
    given = found(np.tile([0.7, 0.2, 0.1], (9, 1)), np.zeros(9, np.int64))
    assert given["scores"].pop("cohen_kappa") is None
    assert None not in given["scores"].values()
    assert given["by_class"]["f1"] == [(1, 1), (0, 0), (0, 0)]


def test_a_probability_of_0_for_the_true_class_leaves_the_interval_of_the_loss_finite() -> None:
    probabilities = softmax(np.array([[0.0, 2000.0], [1.0, 0.0], [0.0, 1.0]]))
    assert probabilities[0, 0] == 0
    low, high = found(probabilities, np.array([0, 0, 1]))["scores"]["loss"]
    assert 0 < low < high < 709


def test_the_memory_of_intervals_does_not_grow_with_images_times_resamples() -> None:
    _, probabilities, labels = guesses(Case(20_000, 5))
    tracemalloc.start()
    try:
        found(probabilities, labels, resamples=400)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16e6  # a table of images and resamples has 64 MB
