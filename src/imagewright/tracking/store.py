"""The MLflow store, and what earlier runs left there."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException

from imagewright.errors import TrackingError
from imagewright.home import home
from imagewright.tracking.place import FOLDER, answers, is_server, tracking_uri, without_password
from imagewright.tracking.process import FAILURE_TAGS, GONE, is_here, lives

__all__ = ["end_dead_runs", "experiment_id", "open_store"]

_EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


def open_store(root: Path) -> MlflowClient:
    """Connect to the store, and make the local database if it is missing.

    Raises:
        TrackingError: the store cannot be opened, or its server does not answer within seconds.
    """
    uri = tracking_uri(root)
    # It tells in 30 lines how it makes its tables.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    # By default, MLflow's client tries for minutes before it says a word.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    if is_server(uri) and (silence := answers(uri)):
        raise _unusable(uri, silence)
    if "MLFLOW_TRACKING_URI" not in os.environ and any(letter in uri for letter in "?#%"):
        raise _unusable(uri, "a path with ?, # or % in it cannot be the address of a database; move the project")
    try:
        if not uri.startswith("sqlite"):
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
        raise _unusable(uri, (str(error).strip() or type(error).__name__).splitlines()[0]) from error
    return client


def _unusable(uri: str, reason: str) -> TrackingError:
    return TrackingError(
        f"MLflow: the store {without_password(uri)} cannot be used: {reason}; check MLFLOW_TRACKING_URI, or unset it "
        f"to log locally"
    )


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


def end_dead_runs(client: MlflowClient) -> list[str]:
    """End the runs that still count as running although their process on this machine is gone.

    A crash or a power cut leave such runs. Runs of other machines are left alone.

    Returns:
        ids of the runs that were ended, now KILLED.
    """
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    query = f"attributes.status = 'RUNNING' and tags.`imagewright.host` = '{socket.gethostname()}'"
    ended = []
    for run in client.search_runs(experiments, query, run_view_type=ViewType.ACTIVE_ONLY):
        if is_here(run.data.tags) and not lives(run.data.tags):
            _end(client, run)
            ended.append(run.info.run_id)
    return ended


def _end(client: MlflowClient, run: Run) -> None:
    client.set_tag(run.info.run_id, FAILURE_TAGS[0], GONE)
    client.set_terminated(run.info.run_id, "KILLED")
