"""One MLflow run, as the code that runs sees it: it says what there is to say, and a process beside it sends it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from imagewright.tracking.journal import Journal, journals
from imagewright.tracking.place import answers, is_server, tracking_uri, without_password
from imagewright.tracking.process import FAILURE_TAGS, process_tags
from imagewright.tracking.provenance import DatasetUse
from imagewright.tracking.system import SystemMetrics

__all__ = ["ONCE", "TrackedRun", "metric_name"]

# The step of what a run has one of. With this step, the UI compares runs by bars and not by lines of one point.
ONCE = 0

# MLflow refuses longer values.
_LONGEST_PARAM = 6000
_LONGEST_PART = 100  # of the name of a metric; MLflow takes 250 characters of the whole
_LOOK_EVERY = 1.0  # seconds
_SOURCE = str(Path(__file__).parents[2])


def metric_name(name: str, number: int) -> str:
    """A name of the user's in the form that MLflow takes as part of the name of a metric.

    Args:
        name: of a class.
        number: its index, which is added where the name had to be changed, so that no two become one.
    """
    allowed = re.sub(r"[^\w .:-]", "_", name)[:_LONGEST_PART].strip(". ")
    return name if name and allowed == name else f"{allowed}_{number}"


class TrackedRun:
    """A run that ends FINISHED, FAILED with the reason, or KILLED; to be used with ``with``.

    Nothing here waits for the store, nor fails with it: what cannot be sent is kept (``journal.py``), and that is said
    on standard error.

    Attributes:
        key: what the run is called before it has an id, 32 hexadecimal digits; it is also a tag of the run.
        run_id: in the store; None until the end, and if the store could not be reached.
    """

    def __init__(self, root: Path, key: str) -> None:
        self.key = key
        self.run_id: str | None = None
        self._root = root
        self._uri = tracking_uri(root)
        self._journal = Journal.of(root, key)
        self._status = "FINISHED"
        self._system: SystemMetrics | None = None
        self._sender: subprocess.Popen[str] | None = None
        self._warned = False
        self._looked = time.monotonic()

    @classmethod
    def start(
        cls,
        root: Path,
        experiment: str,
        name: str,
        tags: Mapping[str, str],
        *,
        parent: str | None = None,
        system_metrics: float | None = None,
    ) -> TrackedRun:
        """Begin a new run.

        Args:
            root: the project.
            experiment: name of the experiment, made if it is missing.
            name: what the UI shows.
            tags: what the run is found by.
            parent: key of the run that this one is a part of.
            system_metrics: seconds between two measurements of processor, memory, disk and network; None for none.
        """
        run = cls(root, uuid.uuid4().hex)
        all_tags = {**tags, **process_tags()}
        run._journal.append("start", experiment=experiment, name=name, tags=all_tags, parent=parent)
        run._begin(system_metrics)
        return run

    @classmethod
    def resume(
        cls, root: Path, key: str, run_id: str | None, *, experiment: str, name: str, tags: Mapping[str, str]
    ) -> TrackedRun:
        """Go on with an ended run, or with its record if it was not sent yet.

        Args:
            root: the project.
            key: of the run.
            run_id: in the store, if it has one.
            experiment: of the new run that takes its place if the store has it no more.
            name: of that run.
            tags: of that run.
        """
        run = cls(root, key)
        if run._journal.ended:
            run_id = None  # it waits to be sent, under its key
        owner = process_tags()
        run._journal.append("resume", run_id=run_id, experiment=experiment, name=name, tags=dict(tags), owner=owner)
        run._begin(None)
        return run

    def _begin(self, system_metrics: float | None) -> None:
        silence = answers(self._uri) if is_server(self._uri) else None
        if silence is None:
            self._sender = self._send()
        else:
            self._warn(_silent(self._uri, silence))
        if system_metrics is not None:
            self._system = SystemMetrics(self.log_metrics, system_metrics)

    def _send(self, *, at_once: bool = False) -> subprocess.Popen[str]:
        """Start the process that sends, which goes on until its input is closed."""
        command = [sys.executable, "-m", "imagewright.tracking.sender", str(self._root.resolve()), self.key]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if at_once else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([_SOURCE, os.environ.get("PYTHONPATH", "")])},
            start_new_session=True,  # Ctrl-C is for the run, which then says its end.
        )

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._journal.append("tags", tags=dict(tags))

    def describe(self, text: str) -> None:
        """What the UI shows as the description of the run, in Markdown."""
        self.set_tags({"mlflow.note.content": text})

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log values under their names; one that is too long for MLflow is logged in several parts."""
        params: dict[str, str] = {}
        for name, value in values.items():
            text = str(value)
            parts = [text[start : start + _LONGEST_PARAM] for start in range(0, len(text), _LONGEST_PARAM)] or [""]
            params |= (
                {name: text}
                if len(parts) == 1
                else {f"{name} part {number} of {len(parts)}": part for number, part in enumerate(parts, start=1)}
            )
        self._journal.append("params", params=params)

    def log_metrics(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of one step."""
        self._journal.append("metrics", metrics={name: float(value) for name, value in values.items()}, step=step)
        if not self._warned and time.monotonic() - self._looked > _LOOK_EVERY:
            self._looked = time.monotonic()
            if reason := self._journal.state.get("reason"):
                self._warn(reason)

    def log_text(self, text: str, name: str) -> None:
        """Log a text as an artifact of that name."""
        place = self._journal.folder / "texts" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        self.log_artifact(place)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """Log a file as an artifact in that folder."""
        self._journal.append("artifact", file=self._journal.keep(path), folder=folder)

    def log_image(self, path: Path, key: str, step: int) -> None:
        """Log a picture that the UI shows, beside those of other runs under the same key.

        Args:
            path: of a file that Pillow reads.
            key: letters, digits, ``_-./`` and spaces.
            step: e.g. an epoch.
        """
        self._journal.append("image", file=self._journal.keep(path), key=key, step=step)

    def log_inputs(self, datasets: Sequence[DatasetUse]) -> None:
        """Log which data the run uses."""
        self._journal.append("inputs", datasets=[asdict(dataset) for dataset in datasets])

    def log_model(self, checkpoint: Path, example: Path, step: int) -> None:
        """Log a checkpoint as a model that MLflow can load and serve.

        Args:
            checkpoint: of imagewright.
            example: file of an image that shows what the model takes.
            step: the epoch that the checkpoint holds.
        """
        files = {"file": self._journal.keep(checkpoint), "example": self._journal.keep(example)}
        self._journal.append("model", name="model", step=step, **files)

    def fail(self, reason: str) -> None:
        """End as FAILED although nothing is raised."""
        self.set_tags(dict.fromkeys(FAILURE_TAGS, reason))
        self._status = "FAILED"

    def discard(self) -> None:
        """Delete the run, which has nothing to say."""
        self._status = "DISCARDED"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._system is not None:
            self._system.stop()
        if error is not None and self._status != "DISCARDED":
            self.fail(f"{type(error).__name__}: {error}")
            # KeyboardInterrupt and SystemExit (SIGTERM) are somebody's will, not a failure.
            self._status = "FAILED" if isinstance(error, Exception) else "KILLED"
        if self._status == "DISCARDED":
            self._journal.append("discard")
        else:
            self._journal.append("end", status=self._status)
        self._wait()

    def _wait(self) -> None:
        """Wait until all is sent, or it is clear that it cannot be."""
        result = _result(self._sender)
        if not result.get("done") and not result.get("refused"):
            # A server may have come back, and a process that sends may have been killed.
            silence = answers(self._uri) if is_server(self._uri) else None
            result = {"reason": _silent(self._uri, silence)} if silence else _result(self._send(at_once=True))
        self.run_id = result.get("run_id") or self._journal.state.get("run_id")
        if not result.get("done"):
            self._warn(result.get("reason") or "the process that sends the record ended without a word")
        waiting = sum(_waits(journal) for journal in journals(self._root))
        if waiting:
            words = "run waits to be sent to MLflow; `imagewright sync` sends it"
            if waiting > 1:
                words = "runs wait to be sent to MLflow; `imagewright sync` sends them"
            print(f"note: {waiting} {words}", file=sys.stderr)

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            print(
                f"warning: {reason}; the work goes on, and what this run says is kept in {self._journal.folder}",
                file=sys.stderr,
            )


def _silent(uri: str, reason: str) -> str:
    return f"MLflow at {without_password(uri)} does not answer ({reason})"


def _waits(journal: Journal) -> bool:
    """Whether a record is complete, and nobody is sending it."""
    if not journal.ended:
        return False
    with journal.alone() as alone:
        return alone


def _result(sender: subprocess.Popen[str] | None) -> dict[str, Any]:
    """What became of the record; empty if there is no such process, or it was killed."""
    if sender is None:
        return {}
    printed, _ = sender.communicate()
    try:
        result: dict[str, Any] = json.loads(printed)
    except ValueError:
        return {}
    return result
