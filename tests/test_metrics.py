"""Scores, compared with scikit-learn's."""

from __future__ import annotations

import json
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from imagewright.metrics.epoch import EpochScores
from imagewright.metrics.scores import score

Labels = npt.NDArray[np.int64]


def predictions(
    size: int, classes: int, without_sample: tuple[int, ...] = (), without_prediction: tuple[int, ...] = ()
) -> tuple[torch.Tensor, Labels]:
    """Logits (N, K) that are right more often than not, and labels (N,)."""
    random = np.random.default_rng(size * classes)
    labels = random.choice([index for index in range(classes) if index not in without_sample], size)
    logits = random.normal(size=(size, classes)) + 1.5 * np.eye(classes)[labels]
    logits[:, list(without_prediction)] -= 15
    return torch.tensor(logits, dtype=torch.float32), labels


@pytest.mark.parametrize(
    ("size", "classes", "without_sample", "without_prediction"),
    [
        (1, 2, (), ()),
        (200, 2, (), ()),
        (200, 2, (), (1,)),
        (300, 3, (), ()),
        (300, 5, (2,), ()),
        (300, 5, (), (0, 4)),
        (300, 5, (1,), (1,)),
        (400, 10, (0, 3, 9), (3, 5, 9)),
        (40, 20, (), ()),
        (1000, 20, (), ()),
    ],
)
def test_the_scores_are_scikit_learns(
    size: int, classes: int, without_sample: tuple[int, ...], without_prediction: tuple[int, ...]
) -> None:
    logits, labels = predictions(size, classes, without_sample, without_prediction)
    names = [f"class {index}" for index in range(classes)]
    given = score(logits, torch.from_numpy(labels), names)

    predicted = logits.numpy().argmax(axis=1)
    every = list(range(classes))
    near = {"rel": 0, "abs": 1e-6}
    assert given["images"] == size
    assert given["accuracy"] == pytest.approx(accuracy_score(labels, predicted), **near)
    assert given["confusion_matrix"] == confusion_matrix(labels, predicted, labels=every).tolist()
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert given["loss"] == pytest.approx(log_loss(labels, probabilities, labels=every), rel=1e-6)

    for average in ("macro", "weighted"):
        # Macro averages are over the classes that occur, in the labels or in the predictions.
        occurring = sorted({*labels.tolist(), *predicted.tolist()})
        precision, recall, f1, _ = precision_recall_fscore_support(
            labels, predicted, labels=occurring, average=average, zero_division=0
        )
        assert given[f"precision_{average}"] == pytest.approx(precision, **near)
        assert given[f"recall_{average}"] == pytest.approx(recall, **near)
        assert given[f"f1_{average}"] == pytest.approx(f1, **near)

    each = precision_recall_fscore_support(labels, predicted, labels=every, average=None, zero_division=0)
    assert list(given["by_class"]) == names
    for name, precision, recall, f1, support in zip(names, *each, strict=True):
        assert given["by_class"][name] == {
            "precision": pytest.approx(precision, **near),
            "recall": pytest.approx(recall, **near),
            "f1": pytest.approx(f1, **near),
            "support": support,
        }


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


def test_the_scores_are_plain_numbers_that_json_can_write() -> None:
    logits, labels = predictions(30, 3)
    given = score(logits, torch.from_numpy(labels), ["a", "b", "c"])
    assert json.loads(json.dumps(given)) == given


def test_an_epochs_loss_counts_each_image_once_whatever_the_batches() -> None:
    logits, labels = predictions(50, 4)
    targets = torch.from_numpy(labels)
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
