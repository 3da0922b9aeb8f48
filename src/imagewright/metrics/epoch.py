"""Running scores of a training, by torchmetrics."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.classification import multiclass_accuracy

__all__ = ["EpochScores"]


class EpochScores:
    """Running loss and accuracy of an epoch.

    The batches are kept, in 16 bytes an image, and torchmetrics sees them at once at the end: an update at each batch
    costs a small network a tenth of its speed.
    """

    def __init__(self, num_classes: int) -> None:
        """Start with no batch.

        Args:
            num_classes: K.
        """
        self._num_classes = num_classes
        self._batches: list[tuple[Tensor, Tensor | float, Tensor, Tensor]] = []

    def add(self, loss: Tensor, weight: Tensor | float, logits: Tensor, labels: Tensor) -> None:
        """Keep a batch.

        Args:
            loss: its mean loss, ().
            weight: of this mean in that of the epoch.
            logits: (B, K).
            labels: int64, (B,).
        """
        self._batches.append((loss.detach(), weight, logits.detach().argmax(1), labels))

    def compute(self) -> dict[str, Tensor]:
        """Scalars "loss" and "accuracy" of the batches since the last call."""
        losses, weights, predicted, labels = zip(*self._batches, strict=True)
        self._batches.clear()
        values = torch.stack(losses)
        shares = torch.stack([torch.as_tensor(weight, dtype=values.dtype, device=values.device) for weight in weights])
        return {
            "loss": torch.linalg.vecdot(values, shares) / shares.sum(),
            "accuracy": multiclass_accuracy(
                torch.cat(predicted), torch.cat(labels), self._num_classes, average="micro", validate_args=False
            ),
        }
