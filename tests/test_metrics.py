"""Scores and curves, compared with scikit-learn's and with plain NumPy."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    cohen_kappa_score,
    confusion_matrix,
    log_loss,
    matthews_corrcoef,
    precision_recall_fscore_support,
    roc_auc_score,
    roc_curve,
    top_k_accuracy_score,
)

from guesses import CASES, Case, guesses, softmax
from imagewright.errors import TrainingError
from imagewright.metrics.curves import reliability, roc_curves
from imagewright.metrics.epoch import EpochScores
from imagewright.metrics.scores import score

NEAR = {"rel": 0, "abs": 1e-6}

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


def names_of(case: Case) -> list[str]:
    return [f"class {index}" for index in range(case.classes)]


def scored(case: Case, **options: int) -> dict[str, object]:
    logits, _, labels = guesses(case)
    return score(torch.from_numpy(logits), torch.from_numpy(labels), names_of(case), **options)


def calibration_error(probabilities: Floats, labels: Labels, bins: int) -> float:
    """Expected calibration error, image by image."""
    members: list[list[tuple[float, bool]]] = [[] for _ in range(bins)]
    for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True):
        confidence = max(row)
        # An edge is the lower end of its bin; a confidence within the rounding of float32 of an edge lies on it.
        number = sum(float(np.float32(confidence)) >= edge / bins for edge in range(1, bins))
        members[number].append((confidence, row.index(confidence) == label))
    return sum(abs(sum(sure for sure, _ in each) - sum(right for _, right in each)) for each in members) / len(labels)


@pytest.mark.parametrize("case", CASES)
def test_the_scores_of_the_predictions_are_scikit_learns(case: Case) -> None:
    _, probabilities, labels = guesses(case)
    given = scored(case)
    predicted = probabilities.argmax(axis=1)
    every = list(range(case.classes))
    assert given["images"] == case.size
    assert given["accuracy"] == pytest.approx(accuracy_score(labels, predicted), **NEAR)
    assert given["confusion_matrix"] == confusion_matrix(labels, predicted, labels=every).tolist()

    for average in ("macro", "weighted"):
        # Macro averages are over the classes that occur, in the labels or in the predictions.
        occurring = sorted({*labels.tolist(), *predicted.tolist()})
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, labels=occurring, average=average, zero_division=0
        )
        assert given[f"precision_{average}"] == pytest.approx(precision, **NEAR)
        assert given[f"recall_{average}"] == pytest.approx(recall, **NEAR)
        assert given[f"f1_{average}"] == pytest.approx(f1, **NEAR)

    each = precision_recall_fscore_support(labels, predicted, labels=every, average=None, zero_division=0)
    assert list(given["by_class"]) == names_of(case)
    for row, precision, recall, f1, support in zip(given["by_class"].values(), *each, strict=True):
        assert row["precision"] == pytest.approx(precision, **NEAR)
        assert row["recall"] == pytest.approx(recall, **NEAR)
        assert row["f1"] == pytest.approx(f1, **NEAR)
        assert row["support"] == support

    if len({*labels.tolist(), *predicted.tolist()}) == 1:
        assert (given["cohen_kappa"], given["matthews_correlation"]) == (None, 0)
    else:
        assert given["cohen_kappa"] == pytest.approx(cohen_kappa_score(labels, predicted), **NEAR)
        assert given["matthews_correlation"] == pytest.approx(matthews_corrcoef(labels, predicted), **NEAR)


@pytest.mark.parametrize("case", CASES)
def test_the_scores_of_the_probabilities_are_scikit_learns_and_numpys(case: Case) -> None:
    logits, probabilities, labels = guesses(case)
    powers = np.exp(logits.astype(np.float64))
    assert np.abs(probabilities - powers / powers.sum(axis=1, keepdims=True)).max() < 1e-12
    given = scored(case)
    every = list(range(case.classes))
    own = np.eye(case.classes)[labels]
    assert given["loss"] == pytest.approx(log_loss(labels, probabilities, labels=every), rel=1e-6)
    assert given["brier"] == pytest.approx(((probabilities - own) ** 2).sum(axis=1).mean(), **NEAR)
    for bins in (1, 7):
        expected = calibration_error(probabilities, labels, bins)
        assert scored(case, bins=bins)["calibration_error"] == pytest.approx(expected, **NEAR)

    areas = {
        index: roc_auc_score(labels == index, probabilities[:, index])
        for index in every
        if 0 < (labels == index).sum() < case.size
    }
    precisions = {
        index: average_precision_score(labels == index, probabilities[:, index]) for index in set(labels.tolist())
    }
    for index, row in enumerate(given["by_class"].values()):
        assert row["roc_auc"] == (pytest.approx(areas[index], **NEAR) if index in areas else None)
        assert row["average_precision"] == (pytest.approx(precisions[index], **NEAR) if index in precisions else None)
    mean = pytest.approx(np.mean(list(areas.values())), **NEAR) if areas else None
    assert given["roc_auc_macro"] == mean
    assert given["average_precision_macro"] == pytest.approx(np.mean(list(precisions.values())), **NEAR)


@pytest.mark.parametrize("case", CASES)
def test_an_image_is_right_among_the_first_k_where_equal_probabilities_come_in_the_order_of_the_classes(
    case: Case,
) -> None:
    _, probabilities, labels = guesses(case)
    for k in {1, case.classes // 2, case.classes - 1}:
        first = [sorted(range(case.classes), key=lambda index, row=row: -row[index])[:k] for row in probabilities]
        right = [label in indices for label, indices in zip(labels.tolist(), first, strict=True)]
        given = scored(case, top_k=k)
        assert given[f"accuracy_top_{k}"] == pytest.approx(np.mean(right), **NEAR)
        if case.decimals is None and case.classes > 2:
            expected = top_k_accuracy_score(labels, probabilities, k=k, labels=list(range(case.classes)))
            assert given[f"accuracy_top_{k}"] == pytest.approx(expected, **NEAR)
        if k == 1:
            assert given["accuracy_top_1"] == given["accuracy"]
    # Among all classes, every image is right.
    for k in (case.classes, case.classes + 1):
        assert not any(name.startswith("accuracy_top") for name in scored(case, top_k=k))


def test_scores_of_very_uneven_classes_are_exact() -> None:
    random = np.random.default_rng(5)
    labels = random.choice(3, 20_000, p=[0.998, 0.0015, 0.0005])
    logits = (random.normal(size=(20_000, 3)) + 4 * np.eye(3)[labels]).astype(np.float32)
    given = score(torch.from_numpy(logits), torch.from_numpy(labels), ["a", "b", "c"])
    predicted = logits.argmax(axis=1)
    assert given["matthews_correlation"] == pytest.approx(matthews_corrcoef(labels, predicted), **NEAR)
    assert given["cohen_kappa"] == pytest.approx(cohen_kappa_score(labels, predicted), **NEAR)
    probabilities = softmax(logits)
    for index, row in enumerate(given["by_class"].values()):
        own = labels == index
        assert row["roc_auc"] == pytest.approx(roc_auc_score(own, probabilities[:, index]), **NEAR)
        expected = average_precision_score(own, probabilities[:, index])
        assert row["average_precision"] == pytest.approx(expected, **NEAR)


def test_the_calibration_error_of_many_sure_predictions_is_exact() -> None:
    logits, probabilities, labels = guesses(Case(50_000, 3), skill=12)
    given = score(torch.from_numpy(logits), torch.from_numpy(labels), ["a", "b", "c"])
    assert given["calibration_error"] == pytest.approx(calibration_error(probabilities, labels, 15), **NEAR)


def test_a_confidence_of_1_belongs_to_the_last_bin() -> None:
    logits = torch.tensor([[100.0, 0.0], [100.0, 0.0], [3.0, 0.0], [3.0, 0.0]])
    # The sure ones are less right than sure, the others more: in bins of their own, the distances would add up.
    labels = torch.tensor([0, 1, 0, 0])
    probabilities = softmax(logits.numpy())
    assert probabilities[0].tolist() == [1, pytest.approx(0, abs=1e-40)]
    *empty, last = reliability(probabilities, labels.numpy(), 15)
    assert (last.count, last.accuracy, last.upper) == (4, 0.75, 1)
    assert not any(each.count for each in empty)
    expected = abs((1 + probabilities[2, 0]) / 2 - 0.75)
    assert score(logits, labels, ["a", "b"])["calibration_error"] == pytest.approx(expected, **NEAR)


@pytest.mark.parametrize(
    ("labels", "predicted", "kappa", "matthews"),
    [
        ([0, 0, 0], [0, 0, 0], None, 0),
        ([1], [1], None, 0),
        ([0, 0, 0], [1, 1, 1], 0, 0),
        ([0, 0, 0], [0, 1, 2], 0, 0),
        ([0, 1, 2], [1, 1, 1], 0, 0),
        ([0, 1, 2], [0, 1, 2], 1, 1),
        ([0, 0, 1, 1], [1, 1, 0, 0], -1, -1),
    ],
)
def test_agreement_beyond_chance_is_0_where_one_side_has_one_class_and_undefined_where_both_have_the_same(
    labels: list[int], predicted: list[int], kappa: float | None, matthews: float
) -> None:
    for classes in range(max(2, 1 + max(labels + predicted)), 5):
        logits = 5 * torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()
        given = score(logits, torch.tensor(labels), [str(index) for index in range(classes)])
        assert given["cohen_kappa"] == (kappa if kappa is None else pytest.approx(kappa, abs=1e-12))
        assert given["matthews_correlation"] == pytest.approx(matthews, abs=1e-12)


def test_ranking_scores_without_positives_or_negatives_are_none() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    given = score(logits, torch.tensor([0, 0]), ["a", "b", "c"])
    assert [row["roc_auc"] for row in given["by_class"].values()] == [None, None, None]
    assert [row["average_precision"] for row in given["by_class"].values()] == [1, None, None]
    assert (given["roc_auc_macro"], given["average_precision_macro"]) == (None, 1)


def test_perfect_predictions_score_1_and_only_wrong_ones_0() -> None:
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    right = 50 * torch.nn.functional.one_hot(labels, 3).float()
    averaged = [
        "accuracy",
        *(f"{name}_{average}" for name in ("f1", "precision", "recall") for average in ("macro", "weighted")),
    ]
    for logits, value in ((right, 1), (right.roll(1, dims=1), 0)):
        given = score(logits, labels, ["a", "b", "c"])
        assert [given[name] for name in averaged] == [value] * len(averaged)


@pytest.mark.parametrize("case", [Case(30, 4), Case(1, 4)])
def test_the_scores_are_plain_numbers_that_json_can_write(case: Case) -> None:
    given = scored(case)
    assert json.loads(json.dumps(given, allow_nan=False)) == given


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_are_no_numbers_are_refused(value: float) -> None:
    logits = torch.zeros(5, 3)
    logits[[1, 3], 2] = value
    with pytest.raises(TrainingError, match="those of 2 of 5 images are not"):
        score(logits, torch.zeros(5, dtype=torch.int64), ["a", "b", "c"])


def test_an_epochs_loss_counts_each_image_once_whatever_the_batches() -> None:
    guessed, _, labels = guesses(Case(50, 4))
    logits, targets = torch.from_numpy(guessed), torch.from_numpy(labels)
    running = EpochScores(4)
    for epoch in range(2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split([20, 20, 7, 3]):
            loss = torch.nn.functional.cross_entropy(logits[rows], targets[rows])
            running.add(loss, len(rows), logits[rows], targets[rows])
        given, whole = running.compute(), score(logits, targets, list("abcd"))
        assert given["loss"].item() == pytest.approx(whole["loss"], rel=1e-6)
        assert given["accuracy"].item() == pytest.approx(whole["accuracy"], rel=1e-6)


def test_an_epoch_with_a_loss_that_is_no_number_has_a_loss_that_is_no_number() -> None:
    running = EpochScores(3)
    for loss in (1.0, float("nan")):
        running.add(torch.tensor(loss), 20, torch.zeros(20, 3), torch.zeros(20, dtype=torch.int64))
    assert math.isnan(running.compute()["loss"].item())


@pytest.mark.parametrize("bins", [2, 15])
@pytest.mark.parametrize("case", CASES)
def test_the_bins_of_the_reliability_diagram_are_those_of_the_calibration_error(case: Case, bins: int) -> None:
    _, probabilities, labels = guesses(case)
    given = reliability(probabilities, labels, bins)
    assert [each.lower for each in given] == pytest.approx([index / bins for index in range(bins)])
    assert [each.upper for each in given] == pytest.approx([(index + 1) / bins for index in range(bins)])
    assert sum(each.count for each in given) == case.size
    error = 0.0
    for each in given:
        if each.count:
            assert each.lower - 1e-7 <= each.confidence <= each.upper
            error += each.count / case.size * abs(each.confidence - each.accuracy)
        else:
            assert (each.confidence, each.accuracy) == (None, None)
    assert error == pytest.approx(scored(case, bins=bins)["calibration_error"], **NEAR)
    assert error == pytest.approx(calibration_error(probabilities, labels, bins), **NEAR)


@pytest.mark.parametrize("bins", [*range(1, 33), 50, 64, 100])
def test_confidences_on_the_edges_are_in_the_same_bin_for_the_diagram_and_the_score(bins: int) -> None:
    # All twelfths, quarters, fifths and so on from 1/2 to 1, each with another share of hits.
    edges = np.unique([over / under for under in range(1, 33) for over in range(1, under + 1) if 2 * over > under])
    probabilities = np.repeat(np.column_stack([edges, 1 - edges]), 4, axis=0)
    labels = np.tile([0, 0, 1, 0, 1, 1, 1], len(probabilities))[: len(probabilities)]
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(probabilities), -800)
    given = score(torch.from_numpy(logits), torch.from_numpy(labels), ["a", "b"], bins=bins)
    error = sum(
        each.count / len(labels) * abs(each.confidence - each.accuracy)
        for each in reliability(softmax(logits), labels, bins)
        if each.confidence is not None and each.accuracy is not None
    )
    assert given["calibration_error"] == pytest.approx(error, **NEAR)


@pytest.mark.parametrize("case", CASES)
def test_the_roc_curves_have_the_shape_of_scikit_learns(case: Case) -> None:
    _, probabilities, labels = guesses(case)
    curves = roc_curves(probabilities, labels)
    areas = [row["roc_auc"] for row in scored(case)["by_class"].values()]
    assert len(curves) == case.classes
    for index, (curve, area) in enumerate(zip(curves, areas, strict=True)):
        own = labels == index
        if own.all() or not own.any():
            assert curve is None
            continue
        false, true, _ = roc_curve(own, probabilities[:, index], drop_intermediate=False)
        # It ends at the same points, its corners are points of the whole curve, and no other point lies off its lines.
        points = list(zip(curve.false_positives, curve.true_positives, strict=True))
        assert (points[0], points[-1]) == ((0, 0), (1, 1))
        assert set(points) <= set(zip(false, true, strict=True))
        assert distance(false, true, curve.false_positives, curve.true_positives) < 1e-12
        assert np.trapezoid(curve.true_positives, curve.false_positives) == pytest.approx(area, **NEAR)
        # It has no more points than scikit-learn's without those on a line.
        assert len(points) <= len(roc_curve(own, probabilities[:, index])[0])


def distance(false: Floats, true: Floats, corners_false: Floats, corners_true: Floats) -> float:
    """The largest distance of points from a polygonal line, both ordered by x + y."""
    way = corners_false + corners_true
    at = np.interp(false + true, way, np.arange(len(way)))
    places = np.arange(len(way))
    return float(
        np.hypot(
            false - np.interp(at, places, corners_false),
            true - np.interp(at, places, corners_true),
        ).max()
    )


def test_a_perfect_roc_curve_has_three_points() -> None:
    labels = np.repeat([0, 1], 50)
    first, second = roc_curves(np.column_stack([1 - labels, labels]) * 0.5 + 0.25, labels)
    for curve in (first, second):
        assert curve is not None
        assert curve.false_positives.tolist() == [0, 0, 1]
        assert curve.true_positives.tolist() == [0, 1, 1]


def test_a_roc_curve_of_many_images_has_500_points_near_all_others() -> None:
    _, probabilities, labels = guesses(Case(20_000, 2), skill=0.7)
    for index, curve in enumerate(roc_curves(probabilities, labels)):
        assert curve is not None
        own = labels == index
        false, true, _ = roc_curve(own, probabilities[:, index])
        assert len(false) > 5000
        assert 300 < len(curve.false_positives) <= 500
        assert distance(false, true, curve.false_positives, curve.true_positives) < 1 / 200
        area = np.trapezoid(curve.true_positives, curve.false_positives)
        assert area == pytest.approx(roc_auc_score(own, probabilities[:, index]), abs=1e-3)
