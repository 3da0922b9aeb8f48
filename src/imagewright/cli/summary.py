"""Prints the test scores, and where the results are."""

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
        scores = json.loads((reports / "evaluation" / "scores.json").read_text("utf-8"))
        # The record beside the scores: DVC may have brought both back from its cache.
        record = json.loads((reports / "evaluation" / "run.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{error.filename}: is missing; run `dvc repro` first") from error
    intervals = scores["intervals"]
    rows = [
        (name, f"{value:.4f}", "{:.4f} to {:.4f}".format(*intervals[name]) if name in intervals else "")
        for name, value in scores.items()
        if isinstance(value, float) and name != "confidence"
    ]
    print(f"\nTest scores on {scores['images']} images:\n")
    headers = ("score", "value", f"{scores['confidence']:.0%} interval")
    print(tabulate(rows, headers=headers, disable_numparse=True, colalign=("left", "right", "left")))
    made = record["run_id"] or f"not sent to MLflow yet, key {record['key']}"
    print(f"\nmade by   {record['run_name']!r} ({made}), evaluated {record['when']}")
    print(f"report    {reports / 'index.html'}")
    print(f"data      {reports / 'data' / 'index.html'}")
    print(f"pictures  {reports / 'evaluation'}/*.png, {reports / 'augmentation.png'}")
    print("MLflow UI `make ui`, or `imagewright ui`")
