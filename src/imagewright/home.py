"""Whose a copy of a project is."""

from __future__ import annotations

from pathlib import Path

__all__ = ["home"]


def home(root: Path) -> Path:
    """The project that owns runs and images: ``root``, or the project whose DVC made ``root`` for a queued experiment.

    DVC runs queued experiments in a copy under ``.dvc/tmp/exps``, which it deletes afterwards.
    """
    for parent in root.parents:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    return root
