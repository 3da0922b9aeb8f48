"""Reading and writing sections of the resolved configuration.

Each folder that a stage writes carries a ``config.yaml`` with the sections that it was made from, so that a later
stage, or a job of a sweep, can see what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from imagewright.config.choices import load_yaml
from imagewright.errors import ConfigError

__all__ = ["FILE", "as_yaml", "read_sections", "write_sections", "write_whole"]

FILE = "config.yaml"


def read_sections(path: Path, *names: str) -> dict[str, Any]:
    """The named sections of a resolved configuration; all of them if none is named."""
    config = load_yaml(path)
    for name in names:
        if name not in config:
            raise ConfigError(f"{path}: has no section {name}; run `dvc repro compose`")
    return {name: config[name] for name in names} if names else config


def write_sections(path: Path, sections: Mapping[str, Any]) -> None:
    """Write resolved sections as YAML, whole or not at all."""
    write_whole(path, as_yaml(sections))


def write_whole(path: Path, content: str) -> None:
    """Write a text file, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(content, encoding="utf-8")
    partial.replace(path)


def as_yaml(sections: Mapping[str, Any]) -> str:
    """Resolved sections as YAML."""
    return OmegaConf.to_yaml(OmegaConf.create(dict(sections)))
