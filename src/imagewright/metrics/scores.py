"""Scores of a classifier on a whole split, by torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassPrecision,
    MulticlassRecall,
)
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from imagewright.errors import TrainingError
from imagewright.metrics.counts import Counts
from imagewright.metrics.curves import BELOW_ONE

__all__ = ["score"]

_MAKERS = {"f1": MulticlassF1Score, "precision": MulticlassPrecision, "recall": MulticlassRecall}
_AVERAGES = ("macro", "weighted", "none")


def score(logits: Tensor, labels: Tensor, classes: Sequence[str], *, top_k: int = 3, bins: int = 15) -> dict[str, Any]:
    """All scores of the predictions, which are the classes of the largest probability.

    Of equal probabilities, that of the first class counts as the largest. What a score is where it has no value:

    - Precision, recall and F1 that would divide by 0 count as 0, and so does the Matthews correlation where labels or
      predictions are of one class only: so does scikit-learn. A class without a sample and without a prediction is
      left out of their macro averages.
    - ROC-AUC of a class is None unless there are images of it and of other classes, average precision unless there are
      images of it. Their macro averages are over the other classes, None if there are none.
    - Cohen's kappa is None if all labels and all predictions are of one and the same class.

    Args:
        logits: finite, (N, K).
        labels: int64, (N,).
        classes: K names.
        top_k: k of ``accuracy_top_<k>``; left out unless k < K.
        bins: of the calibration error, of equal width.

    Returns:
        images, accuracy, accuracy_top_<k>, f1_macro, f1_weighted, precision_macro, precision_weighted, recall_macro,
        recall_weighted, loss (mean cross-entropy, in nats), brier (mean over the images of the sum over the classes of
        the squared distance to 0 or 1), calibration_error (expected, of the largest probability), roc_auc_macro and
        average_precision_macro (one class against the rest), cohen_kappa, matthews_correlation; by_class: name ->
        precision, recall, f1, support, roc_auc, average_precision; confusion_matrix: K rows (true class) of K counts
        (predicted class).

    Raises:
        TrainingError: a logit is infinite or no number.
    """
    if bad := int((~logits.isfinite().all(1)).sum()):
        raise TrainingError(
            f"predictions: must be finite numbers, those of {bad} of {len(logits)} images are not; the weights have "
            f"outgrown their range, so train again with a smaller optimizer.lr"
        )
    probabilities = logits.double().softmax(1)
    own = probabilities.gather(1, labels[:, None])[:, 0]
    collection = _collection(len(classes))
    collection.update(probabilities.argmax(1), labels)
    computed = collection.compute()
    matrix = computed["confusion_matrix"].long()
    each: dict[str, list[float | None]] = {
        "precision": computed["precision_none"].tolist(),
        "recall": computed["recall_none"].tolist(),
        "f1": computed["f1_none"].tolist(),
        "support": matrix.sum(1).tolist(),
        **_ranked(probabilities, labels),
    }
    # torchmetrics takes the Matthews correlation in float32, which is wrong by 1e-5 where nearly all images are of one
    # class, and has an answer of its own to 0/0 of two classes.
    counts = Counts(*(margin.double().numpy() for margin in (matrix.diagonal(), matrix.sum(1), matrix.sum(0))))
    return {
        "images": len(labels),
        "accuracy": computed["accuracy"].item(),
        **_top(probabilities, labels, top_k),
        **{f"{name}_{average}": computed[f"{name}_{average}"].item() for name in _MAKERS for average in _AVERAGES[:2]},
        "loss": torch.nn.functional.cross_entropy(logits.double(), labels).item(),
        "brier": (probabilities.square().sum(1) - 2 * own + 1).mean().item(),
        "calibration_error": _calibration_error(probabilities, labels, bins),
        **{f"{name}_macro": _mean_of_defined(each[name]) for name in ("roc_auc", "average_precision")},
        "cohen_kappa": _defined(computed["cohen_kappa"].item()),
        "matthews_correlation": counts.matthews().item(),
        "by_class": {
            label: dict(zip(each, row, strict=True))
            for label, row in zip(classes, zip(*each.values(), strict=True), strict=True)
        },
        "confusion_matrix": matrix.tolist(),
    }


def _collection(size: int) -> MetricCollection:
    """What follows from the predictions alone, counted in float64: torchmetrics divides in float32 by itself."""
    averaged = {
        f"{name}_{average}": make(size, average=average) for name, make in _MAKERS.items() for average in _AVERAGES
    }
    return MetricCollection(
        {
            "accuracy": MulticlassAccuracy(size, average="micro"),
            "confusion_matrix": MulticlassConfusionMatrix(size),
            "cohen_kappa": MulticlassCohenKappa(size),
            **averaged,
        }
    ).set_dtype(torch.float64)


def _top(probabilities: Tensor, labels: Tensor, k: int) -> dict[str, float]:
    size = probabilities.shape[1]
    if k >= size:
        return {}
    # Of equal values, torch.topk takes any: places have none.
    places = probabilities.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    metric = MulticlassAccuracy(size, average="micro", top_k=k).set_dtype(torch.float64)
    metric.update(-places.double(), labels)
    return {f"accuracy_top_{k}": metric.compute().item()}


def _calibration_error(probabilities: Tensor, labels: Tensor, bins: int) -> float:
    metric = MulticlassCalibrationError(probabilities.shape[1], n_bins=bins, norm="l1")
    # torchmetrics gives a confidence of 1 a bin of its own: it belongs into the last.
    metric.update(probabilities.clamp(max=BELOW_ONE), labels)
    # Sums in float32 are wrong by 1e-4 of 100,000 images.
    return float(metric.set_dtype(torch.float64).compute().item())


def _ranked(probabilities: Tensor, labels: Tensor) -> dict[str, list[float | None]]:
    """ROC-AUC and average precision of each class; the multi-class forms of torchmetrics warn where there are none."""
    found: dict[str, list[float | None]] = {"roc_auc": [], "average_precision": []}
    for index, values in enumerate(probabilities.T.contiguous()):
        own = labels == index
        some, others = bool(own.any()), not own.all()
        found["roc_auc"].append(binary_auroc(values, own.long()).item() if some and others else None)
        found["average_precision"].append(binary_average_precision(values, own.long()).item() if some else None)
    return found


def _mean_of_defined(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _defined(value: float) -> float | None:
    return None if value != value else value
