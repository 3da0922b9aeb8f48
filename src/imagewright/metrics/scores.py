"""Scores of a classifier on a whole split, by torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)

__all__ = ["score"]

_AVERAGES = ("macro", "weighted", "none")


def score(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    """All scores of the predictions ``logits.argmax(1)``.

    A class without a sample and without a prediction is left out of the macro averages; precision, recall and F1 that
    would divide by 0 count as 0.

    Args:
        logits: (N, K).
        labels: int64, (N,).
        classes: K names.

    Returns:
        images, loss (mean cross-entropy, in nats), accuracy, f1_macro, f1_weighted, precision_macro,
        precision_weighted, recall_macro, recall_weighted; by_class: name -> precision, recall, f1, support;
        confusion_matrix: K rows (true class) of K counts (predicted class).
    """
    size = len(classes)
    makers = {"f1": MulticlassF1Score, "precision": MulticlassPrecision, "recall": MulticlassRecall}
    collection = MetricCollection(
        {
            "accuracy": MulticlassAccuracy(size, average="micro"),
            "confusion_matrix": MulticlassConfusionMatrix(size),
            **{
                f"{name}_{average}": make(size, average=average)
                for name, make in makers.items()
                for average in _AVERAGES
            },
        }
    )
    computed = collection(logits.argmax(1), labels)
    matrix = computed["confusion_matrix"]
    each = {name: computed[f"{name}_none"].tolist() for name in makers}
    support = matrix.sum(1).tolist()
    return {
        "images": len(labels),
        "loss": torch.nn.functional.cross_entropy(logits, labels).item(),
        "accuracy": computed["accuracy"].item(),
        **{f"{name}_{average}": computed[f"{name}_{average}"].item() for name in makers for average in _AVERAGES[:2]},
        "by_class": {
            label: {
                "precision": each["precision"][index],
                "recall": each["recall"][index],
                "f1": each["f1"][index],
                "support": support[index],
            }
            for index, label in enumerate(classes)
        },
        "confusion_matrix": matrix.tolist(),
    }
