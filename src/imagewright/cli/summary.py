"""``imagewright summary``: the test scores, and where the results are."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from tabulate import tabulate

from imagewright.errors import DataError
from imagewright.stages.project import find_project

__all__ = ["run"]


def run(arguments: Sequence[str]) -> None:
    """Print a table of the test scores and the paths of report, pictures and UI."""
    parser = argparse.ArgumentParser(prog="imagewright summary", description=__doc__)
    parser.parse_args(arguments)
    project = find_project()
    reports = project.paths["reports"]
    try:
        scores = json.loads((reports / "metrics.json").read_text("utf-8"))
        trained = json.loads((project.paths["models"] / "run.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: is missing; run `dvc repro` first") from error
    rows = [(name, f"{value:.4f}") for name, value in scores.items() if isinstance(value, float)]
    print(f"\nTest scores of {trained['run_name']!r} on {scores['images']} images, epoch {trained['best_epoch']}:\n")
    print(tabulate(rows, headers=("score", "value"), disable_numparse=True, colalign=("left", "right")))
    print(f"\ndata      {reports / 'data' / 'index.html'}")
    print(f"report    {reports / 'evaluation' / 'index.html'}")
    print(f"pictures  {reports / 'evaluation'}/*.png, {reports / 'augmentation.png'}")
    print("MLflow UI `make ui`, or `imagewright ui`")
