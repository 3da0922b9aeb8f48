"""The source of the images that the section data names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagewright import targets
from imagewright.data.sources import Source
from imagewright.home import home
from imagewright.stages.project import find_project

__all__ = ["open_source", "source_path"]

# What all sources have in common is the business of prepare, not of the source.
_COMMON = (
    *("image_size", "channels", "fit", "background", "value_range"),
    *("checks", "duplicates", "empty_class", "split"),
)


def open_source(section: Mapping[str, Any]) -> Source:
    """Build the source of the section data."""
    node = {name: value for name, value in section.items() if name not in _COMMON}
    path = source_path(section)
    source: Source = targets.build("data", node if path is None else {**node, "path": str(path)})
    return source


def source_path(section: Mapping[str, Any]) -> Path | None:
    """Where the images lie, absolute: a relative ``data.path`` starts at the project. None for a source without."""
    if "path" not in section:
        return None
    # The images of an untracked folder are not in the copies that DVC makes for its experiments.
    return home(find_project().root) / Path(section["path"]).expanduser()
