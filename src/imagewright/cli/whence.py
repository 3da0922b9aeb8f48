"""Says which run, code, configuration and data made a file."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from imagewright.errors import ConfigError, DataError, TrackingError
from imagewright.names import shown
from imagewright.stages.project import Project, find_project
from imagewright.stages.sections import FILE
from imagewright.tracking.place import tracking_uri
from imagewright.tracking.provenance import digest_of

if TYPE_CHECKING:
    from imagewright.tracking.lookup import StoredRun

__all__ = ["run"]

# What stages leave beside what they write, and what an export has.
_RECORD, _EXPORT = "run.json", "model.json"
# Folders of the project with records that no path of dvc.yaml names.
_FOLDERS = ("runs", "exports")
_ARTIFACT = f"{FILE} among the artifacts of the run"


@dataclass(frozen=True)
class _Record:
    """What a file says of the files beside it.

    Attributes:
        path: of the record.
        content: key, run_id, run_name, when, command, commit, dirty, config_sha256, data, files.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def files(self) -> dict[Path, str]:
        """Absolute path -> SHA-256."""
        files = self.content.get("files")
        if not isinstance(files, dict):
            return {}
        return {_absolute(self.path.parent / name): str(digest) for name, digest in files.items()}

    @property
    def name(self) -> str:
        return f"run {shown(str(self.content.get('run_name')))!r}"


@dataclass
class _Maker:
    """A run that made a file, in words.

    Attributes:
        run_id: in MLflow; None if it is not there.
        when: it was made.
        rows: what is known of it.
        sources: where that is said.
    """

    run_id: str | None
    when: datetime
    rows: dict[str, str]
    sources: list[str] = field(default_factory=list)


def run(arguments: Sequence[str]) -> int:
    """Print what made a file.

    Returns:
        exit status: 1 if the file was changed since, or one of a folder was changed or is missing.
    """
    parser = argparse.ArgumentParser(prog="imagewright whence", description=__doc__)
    parser.add_argument("file", metavar="FILE", type=Path, help="a model, an export, a report or a folder of them")
    path: Path = parser.parse_args(arguments).file
    if not path.exists():
        raise DataError(f"{shown(str(path))}: does not exist")
    path = _absolute(path)
    project = _project(path)
    if path.is_dir():
        return _of_folder(path, project)
    digest = digest_of(path)
    records = list(_records(path, project))
    found = [record for record in records if digest in record.files.values()]
    other = [record for record in records if record.files.get(path, digest) != digest]
    own = None if other else _own_record(path)
    if own is not None:
        if not found and path.suffix.lower() == ".onnx":
            print("note: only the file itself says this; no record has its digest, so it may have been changed since")
        found.insert(0, own)
    makers = _makers(found, digest, project, must_ask=not found and not other)
    for record in other:
        print(
            f"{_near(str(path), project)}: was changed since {record.name} made it: by "
            f"{_near(str(record.path), project)} its SHA-256 was {record.files[path]}, now it is {digest}"
        )
    if not makers and not other:
        raise DataError(
            f"{shown(str(path))}: nothing says which run made it (SHA-256 {digest}): no {_RECORD} or {_EXPORT} in its "
            f"folder and those above, none in models, runs, exports and reports of the project, and no run in MLflow"
        )
    _print(path, makers, project)
    return 1 if other else 0


def _of_folder(folder: Path, project: Project | None) -> int:
    """What made the files of a folder that records are in."""
    records = [
        record for record in map(_read, sorted([*folder.rglob(_RECORD), *folder.rglob(_EXPORT)])) if record is not None
    ]
    if not records:
        raise DataError(f"{shown(str(folder))}: has no {_RECORD} or {_EXPORT} that names a run; name a file")
    status = 0
    for record in records:
        _print(record.path.parent, _makers([record], None, project, must_ask=False), project)
        for path, digest in record.files.items():
            if not path.is_file():
                print(f"{_near(str(path), project)}: is missing")
            elif digest_of(path) != digest:
                print(f"{_near(str(path), project)}: was changed since")
            else:
                continue
            status = 1
    return status


# --- records ----------------------------------------------------------------------------------------------------------


def _absolute(path: Path) -> Path:
    # Links stay: DVC may keep a file elsewhere and link to it.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _project(path: Path) -> Project | None:
    """The project around a file, or else around the current folder."""
    for start in (path.parent, None):
        try:
            return find_project(start)
        except ConfigError:
            continue
    return None


def _records(path: Path, project: Project | None) -> Iterator[_Record]:
    """Records that may name a file: those beside it and above, then those of the project."""
    candidates = [folder / name for folder in path.parents for name in (_RECORD, _EXPORT)]
    if project is not None:
        folders = [project.paths["models"], project.paths["reports"], *(project.root / name for name in _FOLDERS)]
        candidates += [file for folder in folders for name in (_RECORD, _EXPORT) for file in sorted(folder.rglob(name))]
    for candidate in dict.fromkeys(candidates):
        record = _read(candidate)
        if record is not None:
            yield record


def _read(path: Path) -> _Record | None:
    """A record; None if the file is missing or something else."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if path.name == _EXPORT and isinstance(content, dict) and isinstance(content.get("provenance"), dict):
        content = {"files": content.get("files"), **content["provenance"]}
    return _Record(path, content) if _is_record(content) else None


def _is_record(content: object) -> bool:
    return isinstance(content, dict) and "run_name" in content and ("run_id" in content or "key" in content)


def _own_record(path: Path) -> _Record | None:
    """What a file says of itself: a record, or a model in ONNX."""
    if path.name in (_RECORD, _EXPORT):
        return _read(path)
    if path.suffix.lower() != ".onnx":
        return None
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        # Its weights may lie beside it.
        properties = {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}
    except (DecodeError, ValueError, OSError):
        return None
    for text in properties.values():
        try:
            content = json.loads(text)
        except ValueError:
            continue
        if _is_record(content):
            return _Record(path, content)
    return None


# --- makers -----------------------------------------------------------------------------------------------------------


def _makers(records: Sequence[_Record], digest: str | None, project: Project | None, *, must_ask: bool) -> list[_Maker]:
    """Runs that made a file, the newest first.

    Args:
        records: that name it.
        digest: by which it is looked for in MLflow.
        project: whose store is asked.
        must_ask: whether nothing is known if MLflow does not answer.

    Raises:
        TrackingError: it does not, and it must.
    """
    made: dict[str, _Maker] = {}
    for record in records:
        maker = _of_record(record, project)
        known = made.setdefault(_key(record), maker)
        if known is not maker:
            known.sources += maker.sources
    try:
        _ask(made, records, digest, project)
    except TrackingError as error:
        if must_ask:
            raise
        print(f"note: {error}", file=sys.stderr)
    return sorted(made.values(), key=lambda maker: maker.when, reverse=True)


def _of_record(record: _Record, project: Project | None) -> _Maker:
    said = record.content
    return _Maker(
        run_id=None,
        when=_time(said.get("when")),
        rows={
            "run": str(said.get("run_name")),
            "id": str(said.get("run_id") or "not known when this was written"),
            "made": str(said.get("when", "unknown")),
            "command": str(said.get("command") or "unknown"),
            "commit": _commit(said.get("commit"), dirty=bool(said.get("dirty"))),
            "configuration": _configuration(record, project),
            "data": _data(said.get("data")),
        },
        sources=[str(record.path)],
    )


def _ask(made: dict[str, _Maker], records: Sequence[_Record], digest: str | None, project: Project | None) -> None:
    """Add what MLflow knows."""
    root = Path.cwd() if project is None else project.root
    uri = tracking_uri(root)
    if "MLFLOW_TRACKING_URI" not in os.environ and not Path(uri.removeprefix("sqlite:///")).is_file():
        return  # a question makes no store
    # MLflow takes a second to import.
    from imagewright.tracking.lookup import makers_of, recorded_run
    from imagewright.tracking.store import open_store

    client = open_store(root)
    for record in records:
        maker = made[_key(record)]
        stored = recorded_run(client, record.content.get("key"), record.content.get("run_id"))
        if stored is not None and maker.run_id is None:
            maker.run_id = maker.rows["id"] = stored.run_id
            maker.sources.append("MLflow")
            if maker.rows["configuration"].startswith("SHA"):  # it is in no file here
                maker.rows["configuration"] += f", {_ARTIFACT}"
    for stored in [] if digest is None else makers_of(client, digest):
        if stored.run_id not in {maker.run_id for maker in made.values()}:
            made[stored.run_id] = _of_stored(stored)


def _key(record: _Record) -> str:
    return str(record.content.get("key") or record.content.get("run_id"))


def _of_stored(stored: StoredRun) -> _Maker:
    tags = stored.tags
    prefix = "data."
    return _Maker(
        run_id=stored.run_id,
        when=stored.began,
        rows={
            "run": stored.name,
            "id": stored.run_id,
            "began": stored.began.isoformat(timespec="seconds"),
            "command": tags.get("mlflow.source.name", "unknown"),
            "commit": _commit(tags.get("mlflow.source.git.commit"), dirty=tags.get("git.dirty") == "true"),
            "configuration": _ARTIFACT,
            "data": _data({name.removeprefix(prefix): tags[name] for name in tags if name.startswith(prefix)}),
        },
        sources=["MLflow"],
    )


def _time(text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text)).astimezone()
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


def _commit(commit: object, *, dirty: bool) -> str:
    return f"{commit or 'unknown'}{', with changes that were not committed' if dirty else ''}"


def _data(digests: object) -> str:
    if not isinstance(digests, dict) or not digests:
        return "unknown"
    return "\n".join(f"{name} {digest}" for name, digest in digests.items())


def _configuration(record: _Record, project: Project | None) -> str:
    """Digest of the configuration, and where it can be read if it is still there."""
    digest = record.content.get("config_sha256")
    places = [
        record.path.parent / FILE,
        *([] if project is None else [project.paths.get("config", project.root / FILE)]),
    ]
    for place in places:
        if place.is_file() and digest_of(place) == digest:
            return f"{place} (SHA-256 {digest})"
    return f"SHA-256 {digest or 'unknown'}"


def _print(path: Path, makers: Sequence[_Maker], project: Project | None) -> None:
    if not makers:
        return
    number = f"{len(makers)} runs made the same bytes, the newest first:" if len(makers) > 1 else "was made by"
    print(f"{_near(str(path), project)}: {number}")
    for maker in makers:
        sources = ", ".join(_near(source, project) for source in maker.sources)
        rows = {**maker.rows, "said by": sources}
        # Only the line breaks between digests are meant.
        table = [(name, *map(shown, text.split("\n") if name == "data" else [text])) for name, text in rows.items()]
        print()
        print(tabulate([(row[0], "\n".join(row[1:])) for row in table], tablefmt="plain", disable_numparse=True))


def _near(path: str, project: Project | None) -> str:
    """A path as it is seen from the project."""
    return shown(path if project is None else path.removeprefix(f"{project.root}{os.sep}"))
