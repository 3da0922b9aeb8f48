"""What the MLflow store knows: runs by id, name, key or file; their artifacts and their models."""

from __future__ import annotations

import atexit
import difflib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelStatus, Run
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.entities import PagedList

from imagewright.errors import DataError, TrackingError
from imagewright.names import shown
from imagewright.tracking.delivery import find_by_key
from imagewright.tracking.store import open_store

__all__ = [
    "ALIASES",
    "CHECKPOINT",
    "PREDICTIONS",
    "SCORES",
    "Store",
    "StoredRun",
    "asking",
    "experiment_name",
    "fetch",
    "find_run",
    "last_runs",
    "logged_model",
    "makers_of",
    "model_of",
    "recorded_run",
]

# What `open_store` gives; only this package imports MLflow.
Store = MlflowClient

# Artifacts of a run, and the one of its model that imagewright itself loads.
PREDICTIONS, SCORES = "evaluation/predictions.csv", "evaluation/scores.json"
CHECKPOINT = "artifacts/best.ckpt"
# The best registered version, and the newest one that is not the best.
ALIASES = ("champion", "challenger")

_DIGEST_TAGS = ("sha256.best.ckpt", "sha256.last.ckpt")
_SHORTEST_PREFIX = 4
_HEXADECIMAL = re.compile(r"[0-9a-f]+")
_ID_LENGTH = 32
_MISSING = "RESOURCE_DOES_NOT_EXIST"
_PAGE = 1000
# Runs among which the near matches of a wrong name are looked for, and how many of them are named.
_KNOWN, _NEAR = 200, 3

_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredRun:
    """A run as the store has it.

    Attributes:
        run_id: 32 hexadecimal digits.
        name: what the UI shows.
        experiment_id: of its experiment.
        status: RUNNING, FINISHED, FAILED or KILLED.
        began: in local time.
        params: as text, as MLflow keeps them.
        metrics: the last value of each.
        tags: by name.
    """

    run_id: str
    name: str
    experiment_id: str
    status: str
    began: datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"run {shown(self.name)!r} ({self.run_id[:8]})"


@contextmanager
def asking() -> Iterator[None]:
    """Raise what MLflow raises as a TrackingError.

    Raises:
        TrackingError: the store refuses, or went away.
    """
    try:
        yield
    # What its client raises when a server goes away is an OSError.
    except (MlflowException, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrackingError(f"MLflow: {reason}; check the store with `imagewright ui`, and try again") from error


def find_run(client: Store, text: str) -> StoredRun:
    """The run that a text means: its id, at least the first four characters of it, or its name.

    Of several runs with the same name it is the newest that is FINISHED; that is said as a warning.

    Raises:
        DataError: no run is meant, or more than one; the message names near matches.
        TrackingError: the store does not answer.
    """
    with asking():
        by_id, by_name = _with_id(client, text), _with_name(client, text)
    named = [run for run in by_name if run.run_id not in {other.run_id for other in by_id}]
    if len(by_id) > 1 or (by_id and named):
        listed = ", ".join(f"{run.run_id} ({shown(run.name)!r})" for run in islice([*by_id, *named], 2 * _NEAR))
        raise DataError(f"{shown(text)}: means more than one run: {listed}; give more of the id")
    if by_id:
        return by_id[0]
    if not by_name:
        raise DataError(f"{shown(text)}: no run has this id or name; {_near(client, text)}")
    if len(by_name) > 1:
        newest = next((run for run in by_name if run.status == "FINISHED"), by_name[0])
        _log.warning(
            "note: %d runs have the name %r; the newest that is finished is taken, %s of %s",
            *(len(by_name), shown(text), newest.run_id, f"{newest.began:%Y-%m-%d %H:%M}"),
        )
        return newest
    return by_name[0]


def last_runs(client: Store, number: int) -> list[StoredRun]:
    """The last finished runs with predictions of the test images, the newest first; those of all experiments.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        runs = _search(client, "attributes.status = 'FINISHED' AND metrics.`test/accuracy` >= 0")
        tested = (run for run in runs if not _is_sweep(run) and _has_predictions(client, run))
        return list(islice(tested, number))


def recorded_run(client: Store, key: str | None, run_id: str | None) -> StoredRun | None:
    """The run that a file ``run.json`` means; its id may be unknown there, if MLflow did not answer then.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        if run_id and (run := _get(client, run_id)) is not None:
            return run
        if key and _is_id(key) and (found := find_by_key(client, key)) is not None:
            return _stored(found)
    return None


def makers_of(client: Store, digest: str) -> list[StoredRun]:
    """Runs that say that they made a checkpoint of this SHA-256, the newest first.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        # MLflow's language has no "or".
        found = {run.run_id: run for tag in _DIGEST_TAGS for run in _search(client, f"tags.`{tag}` = '{digest}'")}
    return sorted(found.values(), key=lambda run: run.began, reverse=True)


def experiment_name(client: Store, run: StoredRun) -> str:
    """Name of the experiment that a run belongs to.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        return str(client.get_experiment(run.experiment_id).name)


def fetch(client: Store, run_id: str, artifact: str) -> Path:
    """A file of a run on this machine, to be read and never changed: it may be the only copy.

    Raises:
        DataError: the run does not have it.
        TrackingError: the store does not answer.
    """
    with asking():
        location = client.get_run(run_id).info.artifact_uri
    return _download(client, location, artifact, f"run {run_id}")


def logged_model(client: Store, run: StoredRun) -> LoggedModel | None:
    """The model that a run logged, the newest if there are several.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        models: list[LoggedModel] = client.search_logged_models(
            [run.experiment_id],
            f"source_run_id = '{run.run_id}'",
            order_by=[{"field_name": "creation_timestamp", "ascending": False}],
        )
    return next((model for model in models if model.status == LoggedModelStatus.READY), None)


def model_of(root: Path, text: str) -> Path:
    """The checkpoint of a model on this machine, to be read and never changed.

    Args:
        root: the project.
        text: ``champion`` or ``challenger``; ``NAME``, ``NAME@ALIAS`` or ``NAME/VERSION`` of a registered model, also
            with ``models:/`` before it; what :func:`find_run` takes; or ``models:/ID`` and ``runs:/ID/model``, which
            MLflow shows.

    Raises:
        DataError: nothing is meant, or it has no checkpoint of imagewright.
        TrackingError: the store does not answer.
    """
    client = open_store(root)
    if match := re.fullmatch(r"models:/(m-[0-9a-f]+)", text):
        with asking():
            location = client.get_logged_model(match[1]).artifact_location
        return _download(client, location, CHECKPOINT, text)
    if match := re.fullmatch(r"runs:/([0-9a-f]+)/model", text):
        text = match[1]
    version = _registered(client, text)
    if version is not None:
        with asking():
            location = client.get_model_version_download_uri(version.name, str(version.version))
        return _download(client, location, CHECKPOINT, f"version {version.version} of {shown(version.name)!r}")
    run = find_run(client, text)
    model = logged_model(client, run)
    if model is None:
        raise DataError(f"{run}: has no model; only a training that went to its end logs one")
    return _download(client, model.artifact_location, CHECKPOINT, f"the model of {run}")


# --- runs -------------------------------------------------------------------------------------------------------------


def _is_id(text: str) -> bool:
    return len(text) == _ID_LENGTH and _HEXADECIMAL.fullmatch(text) is not None


def _stored(run: Run) -> StoredRun:
    return StoredRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        experiment_id=run.info.experiment_id,
        status=run.info.status,
        began=datetime.fromtimestamp(run.info.start_time / 1000).astimezone(),
        params=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
    )


def _get(client: Store, run_id: str) -> StoredRun | None:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == _MISSING:
            return None
        raise
    return _stored(run) if run.info.lifecycle_stage == "active" else None


def _pages(ask: Callable[[str | None], PagedList[_Item]]) -> Iterator[_Item]:
    token = None
    while True:
        page = ask(token)
        yield from page
        token = page.token
        if not token:
            return


def _search(client: Store, query: str) -> Iterator[StoredRun]:
    """Runs of all experiments, the newest first."""
    experiments = [found.experiment_id for found in _pages(lambda token: client.search_experiments(page_token=token))]
    newest_first = ["attributes.start_time DESC"]

    def ask(token: str | None) -> PagedList[Run]:
        return client.search_runs(experiments, query, max_results=_PAGE, order_by=newest_first, page_token=token)

    return (_stored(run) for run in _pages(ask))


def _with_id(client: Store, text: str) -> list[StoredRun]:
    if _is_id(text):
        run = _get(client, text)
        return [] if run is None else [run]
    if len(text) < _SHORTEST_PREFIX or len(text) > _ID_LENGTH or not _HEXADECIMAL.fullmatch(text):
        return []
    return list(_search(client, f"attributes.run_id LIKE '{text}%'"))


def _with_name(client: Store, text: str) -> list[StoredRun]:
    # A name may have quotes, which MLflow's language cannot express: an underscore stands for any character.
    pattern = re.sub(r"[^A-Za-z0-9 .=:-]", "_", text)
    return [run for run in _search(client, f"attributes.run_name LIKE '{pattern}'") if run.name == text]


def _near(client: Store, text: str) -> str:
    """What could have been meant."""
    with asking():
        known = list(islice(_search(client, ""), _KNOWN))
    if not known:
        return "there are no runs yet; run `dvc repro` first"
    names = {run.name: run for run in reversed(known)}
    near = [names[name] for name in difflib.get_close_matches(text, names, n=_NEAR, cutoff=0.5)]
    listed = ", ".join(f"{shown(run.name)!r} ({run.run_id[:8]})" for run in near or known[:_NEAR])
    return f"{'did you mean' if near else 'the last ones are'} {listed}{'?' if near else ''}"


def _is_sweep(run: StoredRun) -> bool:
    return "jobs" in run.metrics


def _has_predictions(client: Store, run: StoredRun) -> bool:
    files = {file.path for file in client.list_artifacts(run.run_id, PREDICTIONS.rpartition("/")[0])}
    return {PREDICTIONS, SCORES} <= files


# --- files ------------------------------------------------------------------------------------------------------------


def _download(client: Store, location: str, artifact: str, whose: str) -> Path:
    """A file below a location of artifacts."""
    # One file needs no bar, and MLflow's stands between the lines of a table.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    folder, _, name = artifact.rpartition("/")
    with asking():
        # MLflow's own function for this takes its store from the environment, and breaks on spaces in a path.
        repository = get_artifact_repository(location, tracking_uri=client.tracking_uri)
        if artifact in {file.path for file in repository.list_artifacts(folder or None)}:
            # A local one is used where it lies: it may be large.
            copy = None if urlsplit(location).scheme in ("", "file") else str(_scratch())
            return Path(repository.download_artifacts(artifact, copy))  # type: ignore[no-untyped-call]
    raise DataError(f"{whose}: has no {name} ({artifact} in MLflow); run `dvc repro` anew, or name another")


def _scratch() -> Path:
    """A new folder that lasts as long as this process."""
    folder = Path(tempfile.mkdtemp(prefix="imagewright-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# --- registered models ------------------------------------------------------------------------------------------------


def _registered(client: Store, text: str) -> ModelVersion | None:
    """The version of a registered model that a text means; None if it may mean a run."""
    body = text.removeprefix("models:/")
    if body in ALIASES:
        return _holder(client, body)
    name, alias, number = _parts(body)
    model = _model(client, name)
    if model is None:
        if body != text:
            known = [shown(model.name) for model in _models(client)]
            valid = f"registered are {', '.join(known)}" if known else "`imagewright register` makes the first"
            raise DataError(f"{shown(text)}: no registered model has the name {shown(name)!r}; {valid}")
        return None
    if alias is None and number is None:
        if ALIASES[0] not in model.aliases:
            return max(model.latest_versions, key=lambda version: int(version.version), default=None)
        alias = ALIASES[0]
    if alias is not None:
        number = model.aliases.get(alias)
    version = None if number is None else _version(client, name, str(number))
    if version is None:
        aliases = ", ".join(f"{alias} (version {number})" for alias, number in sorted(model.aliases.items())) or "none"
        raise DataError(f"{shown(text)}: the registered model {shown(name)!r} does not have it; its aliases: {aliases}")
    return version


def _parts(body: str) -> tuple[str, str | None, str | None]:
    """Name, alias and version."""
    if match := re.fullmatch(r"(.+)@([\w-]+)", body, re.DOTALL):
        return match[1], match[2], None
    if match := re.fullmatch(r"(.+)/(\d+)", body, re.DOTALL):
        return match[1], None, match[2]
    return body, None, None


def _holder(client: Store, alias: str) -> ModelVersion:
    holders = [model for model in _models(client) if alias in model.aliases]
    if not holders:
        raise DataError(f"{alias}: no registered model has this alias; `imagewright register` gives it")
    if len(holders) > 1:
        listed = ", ".join(f"{shown(model.name)}@{alias}" for model in holders)
        raise DataError(f"{alias}: means more than one registered model; give one of {listed}")
    with asking():
        return client.get_model_version_by_alias(holders[0].name, alias)


def _models(client: Store) -> list[RegisteredModel]:
    with asking():
        return list(_pages(lambda token: client.search_registered_models(page_token=token)))


def _model(client: Store, name: str) -> RegisteredModel | None:
    return next((model for model in _models(client) if model.name == name), None)


def _version(client: Store, name: str, number: str) -> ModelVersion | None:
    with asking():
        try:
            return client.get_model_version(name, number)
        except MlflowException as error:
            if error.error_code == _MISSING:
                return None
            raise
