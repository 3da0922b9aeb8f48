"""How long each stage took when it last ran in this folder.

The times stand in a file of their own, which DVC does not know: in what a stage writes, they would be a change each
time.
"""

from __future__ import annotations

import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from imagewright.errors import ConfigError
from imagewright.stages.project import find_project
from imagewright.stages.sections import write_whole

__all__ = ["read_times", "seconds_so_far", "write_time"]


def seconds_so_far() -> float:
    """Seconds since this process was started, imports and all."""
    started: float = psutil.Process().create_time()
    return time.time() - started


def write_time(stage: str) -> None:
    """Take down that the stage of this process is done; outside a project, nothing is."""
    try:
        path = find_project().paths["times"]
    except ConfigError:
        return
    times = read_times(path)
    times[stage] = {
        "seconds": round(seconds_so_far(), 2),
        "when": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(times, indent=2) + "\n")


def read_times(path: Path) -> dict[str, dict[str, Any]]:
    """Stage -> seconds, and when; empty if nothing was taken down, or what was is broken."""
    try:
        times: dict[str, dict[str, Any]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return times
