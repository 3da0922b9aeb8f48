"""Which process a run belongs to, and whether it lives."""

from __future__ import annotations

import hashlib
import os
import socket
import uuid
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

__all__ = ["FAILURE_TAGS", "GONE", "PROCESS_TAGS", "is_here", "lives", "process_tags"]

# Tags that tell which process a run belongs to.
PROCESS_TAGS = ("imagewright.host", "imagewright.machine", "imagewright.pid", "imagewright.process_started")
# Why a run failed; the second is what the UI shows as its description.
FAILURE_TAGS = ("imagewright.failure", "mlflow.note.content")
GONE = "the process ended without a word (killed, or a crash)"
_TOLERANCE = 1.0  # seconds; the start of a process is rounded differently by different kernels


def process_tags(pid: int | None = None) -> dict[str, str]:
    """Tags of a run that belongs to a process of this machine, by default to this one."""
    process = psutil.Process(pid or os.getpid())
    values = (socket.gethostname(), _machine(), str(process.pid), f"{process.create_time():.2f}")
    return dict(zip(PROCESS_TAGS, values, strict=True))


def is_here(tags: Mapping[str, str]) -> bool:
    """Whether a run was begun on this machine, so that its process can be looked for."""
    machine = tags.get("imagewright.machine", _machine())
    return tags.get("imagewright.host") == socket.gethostname() and machine == _machine()


def lives(tags: Mapping[str, str]) -> bool:
    """Whether the process of a run of this machine still runs; its id may be in use again by another."""
    try:
        process = psutil.Process(int(tags["imagewright.pid"]))
        started: float = process.create_time()
        ended = process.status() == psutil.STATUS_ZOMBIE
        return not ended and abs(started - float(tags["imagewright.process_started"])) < _TOLERANCE
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False


@cache
def _machine() -> str:
    """Tells machines apart that have the same name: many are called localhost."""
    known = ""
    with suppress(OSError):
        known = Path("/etc/machine-id").read_text("ascii").strip()
    return hashlib.sha256(f"{known} {uuid.getnode()}".encode()).hexdigest()[:16]
