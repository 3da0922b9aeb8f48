"""The pipeline: a cold ``dvc repro`` on the digits against one plain script that does the same work.

    python benchmarks/pipeline.py

Ours is ``dvc repro`` in a fresh copy of the project: the files of the working tree that git does not ignore, in a
repository of their own with one commit, without a DVC cache, runs, or anything that the pipeline writes. The stages
import the copy's code, so that an edit in the project meanwhile changes nothing. Ours starts a process for each stage,
keeps a history of every file, and logs the run to a new MLflow database. The yardstick is ``plain_pipeline.py``, one
process without any of that, with PyTorch's defaults, from the same resolved configuration.

Both are timed as subprocesses from start to end, imports included, in turns and in the same environment. The making of
the copy and the composing of the configuration for the yardstick do not count; nor does a first run of each, after
which the libraries' files are in memory for both.

Choose the built-in digits in ``params.yaml`` for it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from turns import machine, pair, print_table, take_turns

# Nothing of imagewright is imported: it sets environment variables, which the yardstick would inherit.
ROOT = Path(__file__).resolve().parent.parent
PATHS: dict[str, str] = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))["vars"][0]["paths"]
YARDSTICK = Path(__file__).with_name("plain_pipeline.py")


@dataclass(frozen=True)
class Outcome:
    """Of one run.

    Attributes:
        seconds: from start to end.
        cpu_seconds: of all its processes and threads.
        accuracy: on the test images.
    """

    seconds: float
    cpu_seconds: float
    accuracy: float


def environment() -> dict[str, str]:
    """That of this process, with its Python first and the code of the current folder; the same for both sides."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))
    # Runs belong into the copy.
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return {**kept, "PATH": path, "PYTHONPATH": "src"}


def run(command: list[str], folder: Path) -> tuple[float, float]:
    """Seconds and CPU seconds that a command takes; what it prints is shown only if it fails."""
    start, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, os.times()
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds, sum(after[2:4]) - sum(before[2:4])


def copy_project(folder: Path) -> None:
    """The files that git knows or would add, without what the pipeline writes, in a new repository with one commit."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    written = ["dvc.lock", *(path for name, path in PATHS.items() if name not in ("conf", "params"))]
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if source.is_file() and not any(Path(name).is_relative_to(path) for path in written):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    identity = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "--message", "copy"]):
        run(["git", *arguments], folder)


def run_ours(parent: Path) -> Outcome:
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        copy_project(folder)
        times = run([sys.executable, "-m", "dvc", "repro"], folder)
        return Outcome(*times, read_accuracy(folder / PATHS["reports"] / "metrics.json"))


def run_yardstick(parent: Path, config: Path) -> Outcome:
    with tempfile.TemporaryDirectory(dir=parent) as name:
        folder = Path(name)
        command = [sys.executable, str(YARDSTICK), "--config", str(config), "--out", str(folder)]
        return Outcome(*run(command, folder), read_accuracy(folder / "metrics.json"))


def read_accuracy(metrics: Path) -> float:
    return float(json.loads(metrics.read_text("utf-8"))["accuracy"])


def compose(out: Path) -> None:
    module = [sys.executable, "-m", "imagewright.stages.compose"]
    run([*module, "--conf", PATHS["conf"], "--params", PATHS["params"], "--out", str(out)], ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=2, help="runs of each side that count (default: 2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagewright-") as name:
        folder = Path(name)
        config = folder / "config.yaml"
        compose(config)
        ours, yardstick = take_turns(
            {"dvc repro": lambda: run_ours(folder), "plain script": lambda: run_yardstick(folder, config)},
            arguments.repetitions,
            warm_up=True,
        ).values()
    measured = {"seconds": "seconds", "CPU seconds": "cpu_seconds", "test accuracy": "accuracy"}
    rows = [
        (title, *pair(*([getattr(outcome, name) for outcome in side] for side in (ours, yardstick))))
        for title, name in measured.items()
    ]
    print_table(
        f"The whole pipeline on the digits, median of {arguments.repetitions}. {machine()}",
        ("measured", "dvc repro", "plain script", "dvc repro / plain script", "by turn"),
        rows,
        ("", ".4g", ".4g", ".2f", ""),
    )


if __name__ == "__main__":
    main()
