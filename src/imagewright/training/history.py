"""Loss and accuracy of every epoch."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger

__all__ = ["History", "OnMetrics"]

# Called with metrics by name, and the epoch that they belong to, counted from 1.
OnMetrics = Callable[[Mapping[str, float], int], None]


class History(Logger):
    """A Lightning logger that keeps one row for each epoch and passes the values on.

    Attributes:
        rows: epoch, counted from 1 -> metrics by name.
    """

    def __init__(self, on_metrics: OnMetrics | None = None) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}
        self._on_metrics = on_metrics

    @property
    def name(self) -> str:
        return "history"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The stage logs the whole configuration; the module's part of it is not repeated."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        values = dict(metrics)
        # Callbacks that log at the start of an epoch do not say which: it is the one after the last that was logged.
        epoch = int(values.pop("epoch", max(self.rows, default=0))) + 1
        self.rows.setdefault(epoch, {}).update(values)
        if self._on_metrics:
            self._on_metrics(values, epoch)
