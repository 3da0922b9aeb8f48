"""The Lightning module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from imagewright import targets
from imagewright.metrics.epoch import EpochScores
from imagewright.models.saved import build_network

__all__ = ["Classifier"]


class Classifier(pl.LightningModule):
    """Normalization, a network with logits, and how they are trained.

    Its hyperparameters are plain values, so that a checkpoint loads with ``weights_only=True`` and no code in it runs.
    """

    def __init__(
        self,
        *,
        network: Mapping[str, Any],
        input_shape: Sequence[int],
        classes: Sequence[str],
        shift: Sequence[float],
        scale: Sequence[float],
        preprocessing: Mapping[str, Any],
        optimizer: Mapping[str, Any] | None = None,
        scheduler: Mapping[str, Any] | None = None,
        class_weights: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        """Build the network and its loss.

        Args:
            network: section ``model`` of the configuration.
            input_shape: (C, H, W).
            classes: K names.
            shift: of the input normalization, C numbers.
            scale: of the input normalization, C numbers.
            preprocessing: what brings an image to the input shape; only kept, for those who predict.
            optimizer: section ``optimizer``; only training needs it.
            scheduler: section ``scheduler``; only training needs it.
            class_weights: K weights of the loss, or None for equal ones.
            label_smoothing: share of the target spread over all classes (Szegedy et al. 2015).

        Raises:
            ConfigError: the network cannot be built for this input.
        """
        super().__init__()
        self.save_hyperparameters()
        self.network = build_network(network, input_shape, len(classes), shift, scale)
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.loss = nn.CrossEntropyLoss(weight=weights, label_smoothing=label_smoothing)
        self._scores = {split: EpochScores(len(classes)) for split in ("train", "validation")}

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, K) of raw pixels, uint8 (B, C, H, W)."""
        logits: Tensor = self.network(pixels)
        return logits

    def training_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_index: int) -> None:
        self._step(batch, "validation")

    def _step(self, batch: tuple[Tensor, Tensor], split: str) -> Tensor:
        pixels, labels = batch
        logits = self(pixels)
        loss: Tensor = self.loss(logits, labels)
        # The loss is a mean weighted by the classes' weights, so the mean over an epoch must be, too.
        weights = self.loss.weight
        share = len(labels) if weights is None else weights[labels].sum()
        self._scores[split].add(loss, share, logits, labels)
        return loss

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("validation")

    def _log_epoch(self, split: str) -> None:
        for name, value in self._scores[split].compute().items():
            self.log(f"{split}/{name}", value)

    def configure_optimizers(self) -> Any:
        section = self.hparams["optimizer"]
        # The fused form updates all weights in one pass instead of an operation for each step of the formula.
        # It cannot be used where gradients are clipped in mixed precision.
        wanted = "fused" not in section and not self.trainer.gradient_clip_val
        fused = {"fused": True} if wanted and targets.accepts("optimizer", section, "fused") else {}
        optimizer = targets.build("optimizer", section, self.network.parameters(), **fused)
        total_steps = int(self.trainer.estimated_stepping_batches)
        scheduler = targets.build("scheduler", self.hparams["scheduler"], optimizer, total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
