"""Brings the record of a run into the MLflow store, entry by entry, each of them once.

What is said twice must not count twice: a request may have reached a server whose answer was lost. MLflow's stores take
the same metric, parameter, tag, data set and file twice without a change. A run, a model and an image would be there
twice, so those are looked for before they are made.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.data.dataset_source_registry import get_dataset_source_from_json
from mlflow.data.numpy_dataset import from_numpy
from mlflow.entities import (
    Dataset,
    DatasetInput,
    InputTag,
    LoggedModel,
    LoggedModelOutput,
    LoggedModelStatus,
    Metric,
    Param,
    Run,
    RunTag,
    ViewType,
)
from mlflow.exceptions import MlflowException, RestException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.validation import MAX_DATASET_PROFILE_SIZE, MAX_METRICS_PER_BATCH, MAX_PARAMS_TAGS_PER_BATCH
from PIL import Image

from imagewright.errors import TrackingError
from imagewright.tracking.journal import Entry, Journal, journals
from imagewright.tracking.process import FAILURE_TAGS, GONE, is_here, lives
from imagewright.tracking.store import experiment_id

__all__ = ["KEY", "Delivery", "UnreachableError", "deliver_the_dead", "find_by_key"]

KEY = "imagewright.key"
_LONGEST_TAG = 5000
# Entries that are sent in one request, as far as they follow each other.
_TOGETHER = ("tags", "params", "metrics", "artifact", "inputs")
_PARENT_PATIENCE = 10.0  # seconds


class UnreachableError(Exception):
    """The store does not take anything at the moment; later, it may."""


class Delivery:
    """Sends the record of one run; to be used by one process at a time."""

    def __init__(self, client: MlflowClient, root: Path, journal: Journal) -> None:
        self.client = client
        self._root = root
        self._journal = journal
        state = journal.state
        self._offset = int(state.get("offset", 0))
        self.run_id: str | None = state.get("run_id")
        self._started: dict[str, Any] = state.get("started", {})
        self._tried: int | None = state.get("tried")
        # Whether an earlier part of the run may have said the same.
        self._resumed = bool(state.get("resumed"))

    def send(self) -> bool:
        """Send what was not sent so far.

        Returns:
            whether the run has come to its end.

        Raises:
            UnreachableError: the store does not answer; what was sent until then is remembered.
            TrackingError: the store refuses it.
        """
        ended = False
        try:
            for op, entries, offset in _batches(self._journal.entries(self._offset)):
                self._try(op, entries)
                ended = op in ("end", "discard")
                self._offset = offset
                # These would be there twice, if they were sent again.
                if op in ("start", "resume", "image", "model"):
                    self._remember()
        finally:
            self._remember()
        return ended

    def _remember(self) -> None:
        self._journal.state = {
            "offset": self._offset,
            "run_id": self.run_id,
            "started": self._started,
            "tried": self._tried,
            "resumed": self._resumed,
        }

    def _try(self, op: str, entries: list[Entry]) -> None:
        action: Callable[[list[Entry]], None] = getattr(self, f"_{op}")
        try:
            action(entries)
        except MlflowException as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            status = error.get_http_status_code()  # type: ignore[no-untyped-call]
            if isinstance(error, RestException) and status < 500:
                raise TrackingError(f"MLflow refuses what a run says ({op}): {reason}") from error
            raise UnreachableError(reason) from error

    @property
    def _run(self) -> str:
        assert self.run_id is not None, "a record begins with start or resume"
        return self.run_id

    # --- one method for each kind of entry ----------------------------------------------------------------------------

    def _start(self, entries: list[Entry]) -> None:
        (entry,) = entries
        experiment = experiment_id(self.client, self._root, entry["experiment"])
        tags = {**entry["tags"], KEY: self._journal.key}
        self._started = {"experiment": experiment, "name": entry["name"]}
        run = find_by_key(self.client, self._journal.key)
        if run is None:
            if entry.get("parent"):
                parent = self._parent(entry["parent"])
                tags |= {"mlflow.parentRunId": parent} if parent else {"imagewright.parent": entry["parent"]}
            cut = {name: value[:_LONGEST_TAG] for name, value in tags.items()}
            run = self.client.create_run(experiment, entry["at"], cut, entry["name"])
        self.run_id = run.info.run_id

    def _parent(self, key: str) -> str | None:
        """Id of the run ``key``, whose own process may be just about to send it; None if it never comes."""
        until = time.monotonic() + _PARENT_PATIENCE
        while True:
            run = find_by_key(self.client, key)
            waits = self._journal.folder.with_name(key).is_dir()
            if run is not None or not waits:
                return None if run is None else str(run.info.run_id)
            if time.monotonic() > until:
                raise UnreachableError("the run that this one is a part of is not there yet")
            time.sleep(0.2)

    def _resume(self, entries: list[Entry]) -> None:
        (entry,) = entries
        run = self._known(entry["run_id"]) or find_by_key(self.client, self._journal.key)
        if run is None:  # deleted: what follows is a run of its own
            tags = {**entry["tags"], **entry["owner"], KEY: self._journal.key}
            experiment = experiment_id(self.client, self._root, entry["experiment"])
            run = self.client.create_run(experiment, entry["at"], tags, entry["name"])
        self.run_id = run.info.run_id
        self._resumed = True
        self._started = {"experiment": run.info.experiment_id, "name": run.info.run_name}
        # First whose it is, then that it runs: another process may just be ending the runs of dead ones.
        self._tags([{"tags": entry["owner"]}])
        self.client.update_run(self.run_id, status="RUNNING")
        if FAILURE_TAGS[0] in run.data.tags:
            for outdated in FAILURE_TAGS:
                if outdated in run.data.tags:
                    self.client.delete_tag(self.run_id, outdated)

    def _known(self, run_id: str | None) -> Run | None:
        if run_id is None:
            return None
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def _tags(self, entries: list[Entry]) -> None:
        tags = {name: value[:_LONGEST_TAG] for entry in entries for name, value in entry["tags"].items()}
        self.client.log_batch(self._run, tags=[RunTag(name, value) for name, value in tags.items()])

    def _params(self, entries: list[Entry]) -> None:
        params = iter([Param(*pair) for entry in entries for pair in entry["params"].items()])
        while part := list(islice(params, MAX_PARAMS_TAGS_PER_BATCH)):
            self.client.log_batch(self._run, params=part)

    def _metrics(self, entries: list[Entry]) -> None:
        metrics = iter(
            [
                Metric(name, value, entry["at"], entry["step"])
                for entry in entries
                for name, value in entry["metrics"].items()
            ]
        )
        while part := list(islice(metrics, MAX_METRICS_PER_BATCH)):
            self.client.log_batch(self._run, metrics=part)

    def _artifact(self, entries: list[Entry]) -> None:
        for entry in entries:
            self.client.log_artifact(self._run, str(self._journal.folder / entry["file"]), entry["folder"])

    def _image(self, entries: list[Entry]) -> None:
        (entry,) = entries
        if self._was_tried(entry):
            # The names that MLflow gives: key+step+1+timestamp+1700000000000+<random>+compressed.webp; once with %.
            parts = (entry["key"].replace("/", "~"), "step", str(entry["step"]), "timestamp", str(entry["at"]))
            whole = re.compile("images/" + "[+%]".join(map(re.escape, parts)) + r"[+%].*\.webp")
            if any(whole.fullmatch(file.path) for file in self.client.list_artifacts(self._run, "images")):
                return
        outdated = self._pictures(entry["key"]) if self._resumed else []
        with Image.open(self._journal.folder / entry["file"]) as image:
            image.load()
            self.client.log_image(
                self._run, image, key=entry["key"], step=entry["step"], timestamp=entry["at"], synchronous=True
            )
        if outdated:
            store = get_artifact_repository(self.client.get_run(self._run).info.artifact_uri)
            for path in outdated:
                store.delete_artifacts(path)  # type: ignore[no-untyped-call]

    def _pictures(self, key: str) -> list[str]:
        """The files of the pictures that an earlier part of the run has logged under a key."""
        begin = re.compile(f"images/{re.escape(key.replace('/', '~'))}[+%]step[+%]")
        return [file.path for file in self.client.list_artifacts(self._run, "images") if begin.match(file.path)]

    def _inputs(self, entries: list[Entry]) -> None:
        datasets = [_dataset(given) for entry in entries for given in entry["datasets"]]
        self.client.log_inputs(self._run, datasets)

    def _model(self, entries: list[Entry]) -> None:
        (entry,) = entries
        model = self._logged_model(entry) if self._was_tried(entry) else None
        if model is None:
            model = self.client.create_logged_model(
                self._started["experiment"], entry["name"], self._run, tags={KEY: self._journal.key}
            )
        if model.status != LoggedModelStatus.READY:
            # MLflow's model format takes a second to import, and only models need it.
            from imagewright.tracking.packing import pack_model

            with tempfile.TemporaryDirectory() as folder:
                packed = Path(folder) / "model"
                pack_model(packed, self._journal.folder / entry["file"], self._journal.folder / entry["example"])
                self.client.log_model_artifacts(model.model_id, str(packed))
            self.client.finalize_logged_model(model.model_id, "READY")
        outputs = self.client.get_run(self._run).outputs
        if model.model_id not in [output.model_id for output in (outputs.model_outputs if outputs else [])]:
            self.client.log_outputs(self._run, [LoggedModelOutput(model.model_id, entry["step"])])

    def _logged_model(self, entry: Entry) -> LoggedModel | None:
        """The model that an earlier try has made."""
        found = self.client.search_logged_models(
            [self._started["experiment"]], f"source_run_id = '{self._run}' AND name = '{entry['name']}'"
        )
        return found[0] if found else None

    def _was_tried(self, entry: Entry) -> bool:
        """Whether an earlier process may have sent this entry; from now on, it was."""
        before, self._tried = self._tried, entry["at"]
        self._remember()
        return bool(before == entry["at"])

    def _end(self, entries: list[Entry]) -> None:
        (entry,) = entries
        self.client.set_terminated(self._run, entry["status"], entry["at"])

    def _discard(self, entries: list[Entry]) -> None:
        self.client.delete_run(self._run)


def find_by_key(client: MlflowClient, key: str) -> Run | None:
    """The run that was begun under a key."""
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`{KEY}` = '{key}'", ViewType.ACTIVE_ONLY, max_results=1)
    return found[0] if found else None


def deliver_the_dead(client: MlflowClient, root: Path, uri: str) -> None:
    """Send what processes of this machine left behind that ended without a word: their runs end KILLED."""
    for journal in journals(root):
        owner = journal.owner
        if owner.get("uri") != uri or not is_here(owner) or lives(owner) or journal.ended:
            continue
        with journal.alone() as alone:
            if alone:
                end_for(journal)
                if Delivery(client, root, journal).send():
                    journal.remove()


def end_for(journal: Journal) -> None:
    """Say the end in the place of a process that is gone."""
    journal.mend()
    journal.append("tags", tags=dict.fromkeys(FAILURE_TAGS, GONE))
    journal.append("end", status="KILLED")


def _dataset(given: dict[str, Any]) -> DatasetInput:
    # Arrays of these shapes that take no memory: what mlflow.data says of them is their shape.
    images = np.broadcast_to(np.uint8(0), given["shape"])
    labels = np.broadcast_to(np.int64(0), given["shape"][:1])
    # Said as it is: MLflow's guess at what kind of source a path is comes with a warning.
    source = get_dataset_source_from_json(json.dumps({"uri": given["source"]}), "local")
    described = from_numpy(images, source=source, targets=labels, name=given["name"], digest=given["digest"]).to_dict()
    profile = {**json.loads(described["profile"]), "images_by_class": given["classes"]}
    dataset = Dataset(
        **{name: described[name] for name in ("name", "digest", "source", "source_type", "schema")},
        profile=_fitting(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", given["context"])])


def _fitting(profile: dict[str, Any]) -> str:
    """A profile as MLflow takes it: with very many classes, without their counts."""
    text = json.dumps(profile)
    return text if len(text) < MAX_DATASET_PROFILE_SIZE else json.dumps({**profile, "images_by_class": "many classes"})


def _batches(entries: Iterator[tuple[Entry, int]]) -> Iterator[tuple[str, list[Entry], int]]:
    """Entries of one kind that follow each other, and the place behind them; what is sent alone stays alone."""
    part: list[Entry] = []
    behind = 0
    for entry, offset in entries:
        if part and (entry["op"] != part[0]["op"] or entry["op"] not in _TOGETHER):
            yield part[0]["op"], part, behind
            part = []
        part.append(entry)
        behind = offset
    if part:
        yield part[0]["op"], part, behind
