"""One MLflow run."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH

from imagewright.tracking.store import end_dead_runs, experiment_id, open_store, process_tags

__all__ = ["TrackedRun", "metric_name"]

# Seconds between two writes of metrics: seen live in the UI, at the price of one transaction.
_FLUSH_EVERY = 5.0
# MLflow refuses longer values; the whole configuration is an artifact beside them.
_LONGEST_PARAM = 6000
_LONGEST_TAG = 5000
_LONGEST_PART = 100  # of the name of a metric; MLflow takes 250 characters of the whole
# Why a run failed; the second is what the UI shows as its description.
_FAILURE_TAGS = ("imagewright.failure", "mlflow.note.content")


def metric_name(name: str, number: int) -> str:
    """A name of the user's in the form that MLflow takes as part of the name of a metric.

    Args:
        name: of a class.
        number: its index, which is added where the name had to be changed, so that no two become one.
    """
    allowed = re.sub(r"[^\w .:-]", "_", name)[:_LONGEST_PART].strip(". ")
    return name if name and allowed == name else f"{allowed}_{number}"


class TrackedRun:
    """A run that ends FINISHED, FAILED with the reason, or KILLED; to be used with ``with``."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.client = client
        self.run_id = run_id
        self._metrics: list[Metric] = []
        self._flushed = time.monotonic()
        self._status: str | None = "FINISHED"  # None once it is discarded

    @classmethod
    def start(
        cls, root: Path, experiment: str, name: str, tags: Mapping[str, str], parent: str | None = None
    ) -> TrackedRun:
        """Begin a new run.

        Args:
            root: the project.
            experiment: name of the experiment, made if it is missing.
            name: what the UI shows.
            tags: what the run is found by.
            parent: id of the run that this one is a part of; it must exist.
        """
        client = open_store(root)
        end_dead_runs(client)
        all_tags = {**tags, **process_tags()}
        if parent is not None:
            all_tags["mlflow.parentRunId"] = parent
        run = client.create_run(
            experiment_id(client, root, experiment),
            run_name=name,
            tags={key: value[:_LONGEST_TAG] for key, value in all_tags.items()},
        )
        return cls(client, run.info.run_id)

    @classmethod
    def resume(cls, root: Path, run_id: str) -> TrackedRun | None:
        """Go on with an ended run; None if the store does not have it."""
        client = open_store(root)
        end_dead_runs(client)
        try:
            tags = client.get_run(run_id).data.tags
        except MlflowException:
            return None
        run = cls(client, run_id)
        # First whose it is, then that it runs: another process may just be ending the runs of dead ones.
        run.set_tags(process_tags())
        client.update_run(run_id, status="RUNNING")
        for outdated in _FAILURE_TAGS:
            if outdated in tags:
                client.delete_tag(run_id, outdated)
        return run

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self.client.log_batch(self.run_id, tags=[RunTag(key, value[:_LONGEST_TAG]) for key, value in tags.items()])

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log values under their names; one that is too long is cut."""
        params = [Param(name, str(value)[:_LONGEST_PARAM]) for name, value in values.items()]
        for start in range(0, len(params), MAX_PARAMS_TAGS_PER_BATCH):
            self.client.log_batch(self.run_id, params=params[start : start + MAX_PARAMS_TAGS_PER_BATCH])

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of one step; they are written in batches."""
        now = int(time.time() * 1000)
        self._metrics += [Metric(name, float(value), now, step) for name, value in values.items()]
        if time.monotonic() - self._flushed > _FLUSH_EVERY:
            self._flush()

    def log_text(self, text: str, name: str) -> None:
        """Log a text as an artifact of that name."""
        self.client.log_text(self.run_id, text, name)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        self.client.log_artifact(self.run_id, str(path), folder)

    def fail(self, reason: str) -> None:
        """End as FAILED although nothing is raised."""
        self.set_tags(dict.fromkeys(_FAILURE_TAGS, reason))
        self._status = "FAILED"

    def discard(self) -> None:
        """Delete the run, which has nothing to say."""
        self.client.delete_run(self.run_id)
        self._status = None

    def _flush(self) -> None:
        for start in range(0, len(self._metrics), MAX_METRICS_PER_BATCH):
            self.client.log_batch(self.run_id, metrics=self._metrics[start : start + MAX_METRICS_PER_BATCH])
        self._metrics = []
        self._flushed = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            return
        self._flush()
        if error is not None:
            self.fail(f"{type(error).__name__}: {error}")
            # KeyboardInterrupt and SystemExit (SIGTERM) are somebody's will, not a failure.
            self._status = "FAILED" if isinstance(error, Exception) else "KILLED"
        self.client.set_terminated(self.run_id, self._status)
