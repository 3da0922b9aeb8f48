"""Which code, data and command a run was made from, as tags."""

from __future__ import annotations

import getpass
import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from imagewright.home import home

__all__ = ["DatasetUse", "code_changes", "code_tags", "command_tags", "digest_of", "record"]


@dataclass(frozen=True)
class DatasetUse:
    """Images that a run uses.

    Attributes:
        context: training, validation or test.
        name: of the source.
        digest: of the images and labels, at most 36 characters.
        source: where they lie.
        shape: (N, H, W, C).
        classes: name -> number of images.
    """

    context: str
    name: str
    digest: str
    source: str
    shape: tuple[int, ...]
    classes: dict[str, int]


def code_tags(root: Path, written: Sequence[str]) -> dict[str, str]:
    """Commit, branch, and whether files differed from the commit; empty outside git.

    Args:
        root: the project.
        written: paths that the pipeline itself writes; a change there is a result, not a cause.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    exclude = [f":(exclude){path}" for path in written]
    changed = _git(root, "status", "--porcelain", "--", ".", *exclude)
    branch = _git(home(root), "rev-parse", "--abbrev-ref", "HEAD") or ""
    tags = {
        "mlflow.source.git.commit": commit,
        "mlflow.source.git.branch": branch,
        "git.dirty": str(bool(changed)).lower(),
    }
    if changed:
        tags["git.changed"] = changed
    return tags


def code_changes(root: Path, written: Sequence[str]) -> str:
    """How tracked files differ from the commit, as a patch for ``git apply``; empty if they do not, or outside git.

    Args:
        root: the project.
        written: paths that the pipeline itself writes.
    """
    exclude = [f":(exclude){path}" for path in written]
    return _git(root, "diff", "--binary", "HEAD", "--", ".", *exclude) or ""


def command_tags(command: str) -> dict[str, str]:
    """Who started the run, and by which command, under the names that MLflow shows."""
    return {"mlflow.source.name": command, "mlflow.source.type": "LOCAL", "mlflow.user": _user()}


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record(
    *,
    key: str,
    run_id: str | None,
    run_name: str,
    tags: Mapping[str, str],
    configuration: str,
    files: Mapping[str, str],
) -> dict[str, Any]:
    """What files say of where they come from; it stands beside them as ``run.json``.

    Args:
        key: of the run.
        run_id: of the run in MLflow; None if it was not sent.
        run_name: of the run.
        tags: of the run, with code, data and command.
        configuration: the resolved one, as YAML.
        files: name -> SHA-256.
    """
    return {
        "key": key,
        "run_id": run_id,
        "run_name": run_name,
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": tags.get("mlflow.source.name", ""),
        "commit": tags.get("mlflow.source.git.commit"),
        "dirty": tags.get("git.dirty") == "true",
        "config_sha256": hashlib.sha256(configuration.encode()).hexdigest(),
        "data": {name.removeprefix("data."): value for name, value in tags.items() if name.startswith("data.")},
        "files": dict(files),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return ""


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None
    return done.stdout.rstrip()
