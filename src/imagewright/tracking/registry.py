"""Versions of models in MLflow's registry, and which of them is the champion."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_MODEL_VERSIONS

from imagewright.errors import ConfigError, DataError
from imagewright.home import home
from imagewright.names import shown
from imagewright.tracking.lookup import ALIASES, Store, StoredRun, asking, logged_model
from imagewright.tracking.place import FOLDER

__all__ = [
    "CHALLENGER",
    "CHAMPION",
    "Version",
    "add_version",
    "alone",
    "award",
    "champion_of",
    "check_name",
    "version_of",
]

CHAMPION, CHALLENGER = ALIASES
# Why a version has its alias.
_DECISION = "imagewright.decision"
_LONGEST_TAG = 5000


@dataclass(frozen=True)
class Version:
    """A version of a registered model.

    Attributes:
        name: of the registered model.
        number: of the version, counted from 1.
        run_id: of the run that made it; empty if it was registered by hand without one.
        aliases: that it has.
        tags: by name.
    """

    name: str
    number: int
    run_id: str
    aliases: frozenset[str]
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"version {self.number} of {shown(self.name)!r}"


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Decide without another process of this machine deciding at the same time."""
    folder = home(root) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "registry.lock"):
        yield


def check_name(name: str) -> None:
    """Refuse a name that MLflow does not take.

    Raises:
        ConfigError: that names the rule.
    """
    if not name.strip(". ") or any(sign in name for sign in "/:"):
        raise ConfigError(f"--name: must have a letter or digit, and neither / nor :, got {shown(name)!r}")


def champion_of(client: Store, name: str) -> Version | None:
    """The version that is the champion today; None if there is none.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        model = _model(client, name)
        if model is None or CHAMPION not in model.aliases:
            return None
        return _version(client.get_model_version_by_alias(name, CHAMPION), model)


def version_of(client: Store, name: str, run: StoredRun) -> Version | None:
    """The newest version that a run was registered as; None if it was not.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        model = _model(client, name)
        found = client.search_model_versions(f"run_id = '{run.run_id}'")
        own = [version for version in found if version.name == name]
        if model is None or not own:
            return None
        return _version(max(own, key=lambda version: int(version.version)), model)


def add_version(client: Store, name: str, run: StoredRun, tags: Mapping[str, str], description: str) -> Version:
    """Register the model that a run logged.

    Args:
        client: of the store.
        name: of the registered model, made if it is missing.
        run: whose model it is.
        tags: of the version.
        description: of the version.

    Raises:
        DataError: the run logged no model.
        TrackingError: the store does not answer.
    """
    model = logged_model(client, run)
    if model is None:
        raise DataError(f"{run}: has no model to register; only a training that went to its end logs one")
    with asking():
        registered = _model(client, name) or client.create_registered_model(name)
        # The place of the files: a server refuses others, and `models:/` is looked up in the store of the environment.
        version = client.create_model_version(
            name, model.artifact_location, run.run_id, dict(tags), description=description, model_id=model.model_id
        )
        _link(client, model.model_id, version)
        return _version(version, registered)


def award(client: Store, version: Version, alias: str, reason: str) -> None:
    """Give a version an alias, which whoever had it loses, and say why.

    Raises:
        TrackingError: the store does not answer.
    """
    with asking():
        client.set_model_version_tag(version.name, str(version.number), _DECISION, reason[:_LONGEST_TAG])
        client.set_registered_model_alias(version.name, alias, str(version.number))
        if alias == CHAMPION and CHALLENGER in version.aliases:
            client.delete_registered_model_alias(version.name, CHALLENGER)


def _link(client: Store, model_id: str, version: ModelVersion) -> None:
    """Have the UI show the version beside the model; a server does so by itself."""
    known = json.loads(client.get_logged_model(model_id).tags.get(MLFLOW_MODEL_VERSIONS, "[]"))
    if (version.name, int(version.version)) not in [(one["name"], int(one["version"])) for one in known]:
        versions = [*known, {"name": version.name, "version": version.version}]
        client.set_logged_model_tags(model_id, {MLFLOW_MODEL_VERSIONS: json.dumps(versions)})


def _model(client: Store, name: str) -> RegisteredModel | None:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise


def _version(version: ModelVersion, model: RegisteredModel) -> Version:
    number = int(version.version)
    # A version itself does not know them in every store.
    aliases = frozenset(alias for alias, holder in model.aliases.items() if int(holder) == number)
    return Version(version.name, number, version.run_id or "", aliases, version.tags)
