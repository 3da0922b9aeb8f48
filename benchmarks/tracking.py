"""MLflow's share of ``dvc repro`` on the digits: the same pipeline with it and without it.

    python benchmarks/tracking.py

Both are cold runs in a fresh copy of the project, as in ``pipeline.py``, from start to end, in turns. In the copy
without MLflow, the class that speaks for a run does nothing and starts no process. Two shares are given: with a
database that the first run has to make, as in a fresh clone, and with one that is there, as in every later run.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from pipeline import copy_project, run
from turns import machine, print_table, take_turns

# The same surface as imagewright/tracking/run.py, and nothing behind it.
SILENT = """
import re
import uuid


def metric_name(name, number):
    return re.sub(r"[^\\\\w .:-]", "_", name)


ONCE = 0


class TrackedRun:
    def __init__(self):
        self.key, self.run_id = uuid.uuid4().hex, None

    @classmethod
    def start(cls, *arguments, **keywords):
        return cls()

    resume = start

    def __getattr__(self, name):
        return lambda *arguments, **keywords: None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None
"""


def repro(parent: Path, *, tracked: bool, database: Path | None) -> float:
    """Seconds of a cold ``dvc repro`` in a new copy."""
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        copy_project(folder)
        if not tracked:
            (folder / "src" / "imagewright" / "tracking" / "run.py").write_text(SILENT, encoding="utf-8")
        if database is not None:
            shutil.copytree(database, folder / "mlruns")
        seconds, _ = run([sys.executable, "-m", "dvc", "repro"], folder)
        return seconds


def make_database(parent: Path) -> Path:
    """The folder mlruns of a project with an empty database."""
    code = "import sys; from pathlib import Path; from imagewright.tracking.store import open_store; "
    run([sys.executable, "-c", f"{code} open_store(Path(sys.argv[1]))", str(parent)], Path(__file__).parents[1])
    return parent / "mlruns"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="runs of each that count (default: 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagewright-") as name:
        folder = Path(name)
        database = make_database(folder)
        times = take_turns(
            {
                "without MLflow": lambda: repro(folder, tracked=False, database=None),
                "with MLflow, its database there": lambda: repro(folder, tracked=True, database=database),
                "with MLflow, its database to be made": lambda: repro(folder, tracked=True, database=None),
            },
            arguments.repetitions,
            warm_up=True,
        )
    without = sorted(times.pop("without MLflow"))
    rows = []
    for title, seconds in times.items():
        middle, plain = sorted(seconds)[len(seconds) // 2], without[len(without) // 2]
        rows.append((title, middle, plain, (middle - plain) / middle))
    print_table(
        f"MLflow's share of `dvc repro` on the digits, medians of {arguments.repetitions}. {machine()}",
        ("measured", "seconds", "seconds without MLflow", "share"),
        rows,
        ("", ".4g", ".4g", ".1%"),
    )


if __name__ == "__main__":
    main()
