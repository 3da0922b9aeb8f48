"""Where runs are stored, and what earlier runs left there."""

from __future__ import annotations

import logging
import os
import socket
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from imagewright.errors import TrackingError
from imagewright.home import home

__all__ = ["PROCESS_TAGS", "end_dead_runs", "experiment_id", "open_store", "process_tags", "tracking_uri"]

FOLDER = "mlruns"
# Tags that tell which process a run belongs to.
PROCESS_TAGS = ("imagewright.host", "imagewright.pid", "imagewright.process_started")
_PATIENCE = 5.0  # seconds
_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}
_ALIVE_TOLERANCE = 1.0  # seconds; the start of a process is rounded differently by different kernels


def tracking_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or else the SQLite database of the project at ``root`` (an absolute path)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home(root).resolve() / FOLDER / 'mlflow.db'}"


def open_store(root: Path) -> MlflowClient:
    """Connect to the store, and make the local database if it is missing.

    Raises:
        TrackingError: the store cannot be opened.
    """
    uri = tracking_uri(root)
    # It tells in 30 lines how it makes its tables.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    try:
        if not uri.startswith("sqlite"):
            if uri.startswith(("http://", "https://")):
                _knock(uri)
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
            return client
        folder = home(root) / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        # Making a client makes the tables. Several processes that do so on a fresh database would all fail but one.
        with FileLock(folder / "mlflow.lock"):
            client = MlflowClient(uri)
            client.search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TrackingError(
            f"MLflow: the store {_without_password(uri)} cannot be used: {reason}; check MLFLOW_TRACKING_URI, "
            f"or unset it to log locally"
        ) from error
    return client


def _knock(uri: str) -> None:
    """Raise within seconds if no server answers; MLflow's own client would try again for minutes without a word."""
    with suppress(urllib.error.HTTPError):  # refused, but alive
        urllib.request.urlopen(_without_password(uri), timeout=_PATIENCE).close()


def _without_password(uri: str) -> str:
    parts = urllib.parse.urlsplit(uri)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def experiment_id(client: MlflowClient, root: Path, name: str) -> str:
    """Id of the experiment ``name``, which is made if it is missing."""
    folder = home(root).resolve() / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "mlflow.lock"):
        experiment = client.get_experiment_by_name(name)
        if experiment is not None and experiment.lifecycle_stage != "active":
            raise TrackingError(
                f"tracking.experiment: {name!r} was deleted in MLflow; restore it there or choose another name"
            )
        if experiment is not None:
            return str(experiment.experiment_id)
        # A server keeps artifacts where it wants; the local database would use the current folder.
        local = tracking_uri(root).startswith("sqlite")
        location = (folder / "artifacts" / name.replace("/", "_")).as_uri() if local else None
        # Without its kind, MLflow 3 takes an experiment for one of language models and shows it so.
        return str(client.create_experiment(name, location, tags=_EXPERIMENT_TAGS))


def process_tags() -> dict[str, str]:
    """Tags of a run that belongs to this process."""
    process = psutil.Process()
    return dict(
        zip(PROCESS_TAGS, (socket.gethostname(), str(process.pid), f"{process.create_time():.2f}"), strict=True)
    )


def end_dead_runs(client: MlflowClient) -> list[str]:
    """End the runs that still count as running although their process on this host is gone.

    ``kill -9``, a crash or a power cut leave such runs. Runs of other hosts are left alone.

    Returns:
        ids of the runs that were ended, now KILLED.
    """
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    query = f"attributes.status = 'RUNNING' and tags.`imagewright.host` = '{socket.gethostname()}'"
    ended = []
    for run in client.search_runs(experiments, query, run_view_type=ViewType.ACTIVE_ONLY):
        if not _is_alive(run.data.tags):
            _end(client, run)
            ended.append(run.info.run_id)
    return ended


def _is_alive(tags: Mapping[str, str]) -> bool:
    try:
        process = psutil.Process(int(tags["imagewright.pid"]))
        started: float = process.create_time()
        return abs(started - float(tags["imagewright.process_started"])) < _ALIVE_TOLERANCE
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


def _end(client: MlflowClient, run: Run) -> None:
    client.set_tag(run.info.run_id, "imagewright.failure", "the process ended without a word (killed, or a crash)")
    client.set_terminated(run.info.run_id, "KILLED")
