"""Two classifiers on the same images, and labels that are probably wrong: against plain Python and scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from guesses import CASES, Case, guesses
from imagewright.metrics.labels import suspected_labels
from imagewright.metrics.paired import Difference, PairedBootstrap, mcnemar, paired_bootstrap

NEAR = {"rel": 0, "abs": 1e-6}

Labels = npt.NDArray[np.int64]


def binomial_p_value(only_a: int, only_b: int) -> float:
    """Two-sided: of all splits, those that are no likelier."""
    ways = [math.comb(only_a + only_b, count) for count in range(only_a + only_b + 1)]
    return sum(way for way in ways if way <= ways[only_a]) / sum(ways)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (0, 10), (10, 0), (5, 12), (30, 12), (90, 91)])
def test_mcnemars_p_value_is_that_of_throwing_a_coin_for_each_image_where_they_differ(only_a: int, only_b: int) -> None:
    both = [(True, False)] * only_a + [(False, True)] * only_b + [(True, True)] * 7 + [(False, False)] * 4
    right_a, right_b = np.random.default_rng(1).permutation(both).T
    given = mcnemar(right_a, right_b)
    assert (given.only_a, given.only_b) == (only_a, only_b)
    assert given.p_value == pytest.approx(binomial_p_value(only_a, only_b), rel=1e-9)
    assert mcnemar(right_b, right_a).p_value == given.p_value


def two_classifiers(case: Case) -> tuple[Labels, Labels, Labels]:
    """Labels, predictions of A, and of B that shares some of its mistakes."""
    logits, probabilities, labels = guesses(case)
    noise = np.random.default_rng(case.size).normal(size=logits.shape)
    return labels, probabilities.argmax(axis=1), (logits + noise).argmax(axis=1)


def compared(labels: Labels, first: Labels, second: Labels, num_classes: int, **options: float) -> PairedBootstrap:
    settings = {"resamples": 30, "confidence": 0.9, "seed": 11} | options
    return paired_bootstrap(labels, first, second, num_classes, **settings)  # type: ignore[arg-type]


def scikit_learns(labels: Labels, predicted: Labels, num_classes: int) -> list[float]:
    """Accuracy, macro F1 and F1 of each class."""
    occurring = sorted({*labels.tolist(), *predicted.tolist()})
    return [
        accuracy_score(labels, predicted),
        f1_score(labels, predicted, labels=occurring, average="macro", zero_division=0),
        *f1_score(labels, predicted, labels=list(range(num_classes)), average=None, zero_division=0),
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_differences_are_those_of_scikit_learns_scores_of_the_same_resamples(case: Case) -> None:
    labels, first, second = two_classifiers(case)

    def difference(rows: Labels) -> npt.NDArray[np.float64]:
        a, b = (scikit_learns(labels[rows], predicted[rows], case.classes) for predicted in (first, second))
        return (np.array(b) - a).round(12)

    random = np.random.default_rng(11)
    drawn = np.array([difference(random.integers(0, case.size, case.size)) for _ in range(30)])
    given = compared(labels, first, second, case.classes)
    every = [given.accuracy, given.f1_macro, *given.f1_by_class]
    for one, expected, values in zip(every, difference(np.arange(case.size)), drawn.T, strict=True):
        assert one.difference == pytest.approx(expected, **NEAR)
        assert [one.low, one.high] == pytest.approx(np.quantile(values, [0.05, 0.95]), **NEAR)
        share = 2 * min(np.mean(values <= 0), np.mean(values >= 0))
        assert one.p_value == pytest.approx(min(max(share, 1 / 31), 1), **NEAR)


def test_the_interval_of_the_difference_of_accuracies_is_that_of_a_normal_distribution_when_images_are_many() -> None:
    # Of 4000 images, only A has 200 right, only B 260, both 3000: one image adds -1, 1 or 0 to the difference.
    labels = np.zeros(4000, np.int64)
    first, second = np.ones(4000, np.int64), np.ones(4000, np.int64)
    first[:3200], second[200:3460] = 0, 0
    given = compared(labels, first, second, 2, resamples=4000, confidence=0.95).accuracy
    mean = 60 / 4000
    deviation = math.sqrt((460 / 4000 - mean**2) / 4000)
    assert given.difference == pytest.approx(mean)
    assert given.low == pytest.approx(mean - 1.96 * deviation, abs=0.1 * deviation)
    assert given.high == pytest.approx(mean + 1.96 * deviation, abs=0.1 * deviation)
    # So the two-sided p-value is that of a normal distribution, too.
    assert given.p_value == pytest.approx(math.erfc(mean / deviation / math.sqrt(2)), abs=0.003)


def test_a_classifier_does_not_differ_from_itself() -> None:
    labels, first, _ = two_classifiers(Case(200, 4))
    given = compared(labels, first, first, 4)
    assert {given.accuracy, given.f1_macro, *given.f1_by_class} == {Difference(0, 0, 0, 1)}


def test_scores_that_differ_by_rounding_alone_do_not_differ() -> None:
    # B makes of each class what A makes of the one before: the same F1 of the classes in another order.
    labels = np.repeat(np.arange(7), 11)
    random = np.random.default_rng(2)
    for _ in range(20):
        first = np.where(random.random(77) < 0.6, labels, random.integers(0, 7, 77))
        second = (np.roll(first, 11) + 1) % 7
        assert compared(labels, first, second, 7, resamples=1).f1_macro.difference == 0


def test_a_difference_that_all_resamples_have_is_as_sure_as_they_are_many() -> None:
    labels = np.arange(100) % 3
    given = compared(labels, (labels + 1) % 3, labels, 3, resamples=99)
    assert given.accuracy == Difference(1, 1, 1, 0.01)
    assert given.f1_macro == Difference(1, 1, 1, 0.01)


def test_exchanging_the_classifiers_turns_the_differences_round() -> None:
    labels, first, second = two_classifiers(Case(300, 5, (2,), (0,)))
    there, back = compared(labels, first, second, 5), compared(labels, second, first, 5)
    for one, other in zip([there.f1_macro, *there.f1_by_class], [back.f1_macro, *back.f1_by_class], strict=True):
        assert [one.difference, one.low, one.high] == pytest.approx([-other.difference, -other.high, -other.low])
        assert one.p_value == other.p_value


def suspected_in_plain_python(probabilities: list[list[float]], labels: list[int]) -> list[tuple[int, int, int]]:
    """Row, label and suspected class of each image off the diagonal of the confident joint, by margin."""
    thresholds = {
        own: math.fsum(row[own] for row, label in zip(probabilities, labels, strict=True) if label == own)
        / labels.count(own)
        for own in set(labels)
    }
    found = []
    for number, (row, label) in enumerate(zip(probabilities, labels, strict=True)):
        confident = [index for index in sorted(thresholds) if row[index] > thresholds[index] - 1e-12]
        best = max((row[index] for index in confident), default=0)
        likeliest = [index for index in confident if row[index] == best]
        if likeliest and label not in likeliest:
            found.append((row[label] - best, number, label, likeliest[0]))
    return [(number, label, other) for _, number, label, other in sorted(found)]


@pytest.mark.parametrize("case", CASES)
def test_suspected_labels_are_those_off_the_diagonal_of_the_confident_joint(case: Case) -> None:
    _, probabilities, labels = guesses(case)
    given = suspected_labels(probabilities, labels)
    expected = suspected_in_plain_python(probabilities.tolist(), labels.tolist())
    assert [(one.row, one.label, one.suspected) for one in given] == expected
    for one in given:
        assert one.label_probability == probabilities[one.row, one.label]
        assert one.suspected_probability == probabilities[one.row, one.suspected]
        assert one.margin == one.suspected_probability - one.label_probability
    # No image is suspected to be of a class without images, however likely.
    assert {one.suspected for one in given}.isdisjoint(case.without_sample)


def test_planted_wrong_labels_of_the_digits_are_found() -> None:
    images, truth = load_digits(return_X_y=True)
    random = np.random.default_rng(0)
    wrong = random.choice(len(truth), len(truth) // 20, replace=False)
    labels = truth.copy()
    labels[wrong] = (truth[wrong] + random.integers(1, 10, len(wrong))) % 10
    parts = StratifiedKFold(3, shuffle=True, random_state=0)
    probabilities = cross_val_predict(
        LogisticRegression(max_iter=500), images / 16, labels, cv=parts, method="predict_proba"
    )
    given = suspected_labels(probabilities, labels)
    rows = {one.row for one in given}
    assert len(rows & set(wrong.tolist())) > 0.65 * len(wrong)
    assert len(rows & set(wrong.tolist())) > 0.85 * len(rows)
    assert {one.row for one in given[:30]} <= set(wrong.tolist())
    assert np.mean([one.suspected == truth[one.row] for one in given]) > 0.85


@pytest.mark.parametrize("likely", [0.6, 0.7, 0.9])
def test_a_probability_that_all_images_have_reaches_its_mean_despite_rounding(likely: float) -> None:
    for size in range(1, 60):
        probabilities = np.tile([1 - likely, likely], (2 * size, 1))
        given = suspected_labels(probabilities, np.arange(2 * size) % 2)
        assert [(one.row, one.suspected) for one in given] == [(2 * row, 1) for row in range(size)]


def test_no_label_is_suspected_where_a_classifier_does_not_tell_the_classes_apart() -> None:
    assert suspected_labels(np.full((30, 3), 1 / 3), np.arange(30) % 3) == []
