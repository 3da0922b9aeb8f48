"""What a run says, kept on disk until the MLflow store has it.

    mlruns/pending/<key>/journal.jsonl   one line for each thing that is said, in their order
    mlruns/pending/<key>/files/          copies of the files that are to be sent
    mlruns/pending/<key>/owner.json      the process that says it, and the store that it is meant for
    mlruns/pending/<key>/state.json      how much of it was sent, and what stood in the way

A training writes here, and a process beside it sends (``sender.py``): a server that is slow, gone or comes back later
neither stops the training nor loses a word. The folder is removed when all of it was sent.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from imagewright.home import home
from imagewright.tracking.place import FOLDER, tracking_uri, without_password
from imagewright.tracking.process import process_tags

__all__ = ["Entry", "Journal", "journals"]

# What is said ("op"), when ("at", milliseconds), and what belongs to it.
Entry = dict[str, Any]


class Journal:
    """The record of one run.

    Attributes:
        key: what the run is called before it has an id in a store, 32 hexadecimal digits.
        folder: where the record lies.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder.name
        self._lock = threading.Lock()
        self._files = 0

    @classmethod
    def of(cls, root: Path, key: str) -> Journal:
        """The record of the run ``key`` of the project at ``root``, made if it is missing; this process owns it."""
        journal = cls.find(root, key)
        journal.folder.mkdir(parents=True, exist_ok=True)
        journal._files = sum(1 for _ in journal.folder.glob("files/*"))
        _write(journal.folder / "owner.json", {**process_tags(), "uri": without_password(tracking_uri(root))})
        return journal

    @classmethod
    def find(cls, root: Path, key: str) -> Journal:
        """The record of the run ``key``, whoever owns it."""
        return cls(_pending(root) / key)

    @property
    def owner(self) -> dict[str, str]:
        return _read(self.folder / "owner.json")

    @property
    def state(self) -> dict[str, Any]:
        return _read(self.folder / "state.json")

    @state.setter
    def state(self, state: Mapping[str, Any]) -> None:
        _write(self.folder / "state.json", state)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether this process is the one that sends the record: False as long as another does."""
        try:
            with FileLock(self.folder.with_suffix(".lock")).acquire(blocking=False):
                yield True
        except Timeout:
            yield False

    def append(self, op: str, **fields: Any) -> None:
        """Say one more thing."""
        line = json.dumps({"op": op, "at": int(time.time() * 1000), **fields}, ensure_ascii=True) + "\n"
        # At once and unbuffered: what was said is on disk if this process is killed.
        with self._lock, (self.folder / "journal.jsonl").open("ab", buffering=0) as file:
            file.write(line.encode("ascii"))

    def keep(self, path: Path) -> str:
        """Copy a file that is to be sent, since it may be changed before; gives the place of the copy."""
        with self._lock:
            self._files += 1
            place = f"files/{self._files}/{path.name}"
        (self.folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, self.folder / place)
        return place

    def entries(self, offset: int = 0) -> Iterator[tuple[Entry, int]]:
        """What was said from a place on, each with the place behind it; a line that is not whole yet is left."""
        try:
            with (self.folder / "journal.jsonl").open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    offset += len(line)
                    yield json.loads(line), offset
        except FileNotFoundError:
            return

    def mend(self) -> None:
        """Cut off a line that a dead process has begun, so that others can follow."""
        end = max((offset for _, offset in self.entries()), default=0)
        with (self.folder / "journal.jsonl").open("ab") as file:
            file.truncate(end)

    @property
    def ended(self) -> bool:
        """Whether the last that was said is the end."""
        last = deque(self.entries(), maxlen=1)
        return bool(last) and last[0][0]["op"] in ("end", "discard")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.with_suffix(".lock").unlink(missing_ok=True)


def journals(root: Path) -> list[Journal]:
    """The records that wait, the oldest first: a parent stands before its children."""
    found = [Journal(path.parent) for path in _pending(root).glob("*/journal.jsonl")]
    return sorted(found, key=lambda journal: next((entry["at"] for entry, _ in journal.entries()), 0))


def _pending(root: Path) -> Path:
    return home(root).resolve() / FOLDER / "pending"


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(path)
