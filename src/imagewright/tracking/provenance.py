"""Which code, data and command a run was made from, as tags."""

from __future__ import annotations

import getpass
import hashlib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagewright.home import home

__all__ = ["code_tags", "command_tags", "data_tags"]


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


def command_tags(command: str) -> dict[str, str]:
    """Who started the run, and by which command, under the names that MLflow shows."""
    return {"mlflow.source.name": command, "mlflow.source.type": "LOCAL", "mlflow.user": _user()}


def data_tags(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 of files that stand for data: each tag ``data.<name>``."""
    return {f"data.{name}": hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


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
