"""The project that a command runs in: its root, and the paths that ``dvc.yaml`` names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagewright.config.choices import load_yaml
from imagewright.errors import ConfigError

__all__ = ["Project", "find_project"]


@dataclass(frozen=True)
class Project:
    """A folder with ``dvc.yaml``, ``params.yaml`` and ``conf/``.

    Attributes:
        root: absolute path of the folder.
        paths: name -> absolute path, from ``vars`` of ``dvc.yaml``, the one place where paths are written.
    """

    root: Path
    paths: dict[str, Path]

    @property
    def written(self) -> list[str]:
        """What the pipeline itself writes, relative to the root."""
        own = ("conf", "params")
        return ["dvc.lock", *(str(path.relative_to(self.root)) for name, path in self.paths.items() if name not in own)]


def find_project(start: Path | None = None) -> Project:
    """The project around ``start``, by default the current folder.

    Raises:
        ConfigError: there is none.
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "dvc.yaml").is_file() and (folder / "params.yaml").is_file():
            try:
                paths = load_yaml(folder / "dvc.yaml")["vars"][0]["paths"]
            except (KeyError, IndexError, TypeError):  # a project of DVC, but not one of imagewright
                continue
            return Project(folder, {name: folder / path for name, path in paths.items()})
    raise ConfigError(f"{start}: is not inside an imagewright project (no dvc.yaml with params.yaml); change to one")
