"""The progress bar of a training."""

from __future__ import annotations

import sys
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

__all__ = ["Progress"]


class Progress(pl.callbacks.ProgressBar):
    """One bar over the whole training, with loss and accuracy of the last epoch beside it.

    On a terminal it moves with the batches; elsewhere (a log file, CI) each epoch prints one line.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None

    def disable(self) -> None:
        """Lightning calls it on all but the first process."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=int(trainer.num_training_batches) * int(trainer.max_epochs or 1),
                unit="batch",
                dynamic_ncols=True,
                mininterval=0.2,
                desc="train",
            )

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning has the metrics of an epoch ready only after its last hook, so they are shown here.
        self._show(trainer, trainer.current_epoch)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._show(trainer, trainer.current_epoch)
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _show(self, trainer: pl.Trainer, epoch: int) -> None:
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if "train/loss" not in values:
            return
        words = "  ".join(
            f"{split} loss {values[f'{split}/loss']:.4f} accuracy {values[f'{split}/accuracy']:.2%}"
            for split in ("train", "validation")
            if f"{split}/loss" in values
        )
        if self._bar is None:
            print(f"epoch {epoch:>3}/{trainer.max_epochs}  {words}", file=sys.stderr)
        else:
            self._bar.set_description(f"epoch {epoch}/{trainer.max_epochs}", refresh=False)
            self._bar.set_postfix_str(words)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
