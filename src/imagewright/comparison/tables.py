"""Tables of a comparison as text: the terminal and the page show the same ones."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from imagewright.comparison.pictures import Interval
from imagewright.comparison.statistics import (
    Against,
    ClassChange,
    Confusion,
    Disagreement,
    Evaluated,
    changed,
    p_words,
)
from imagewright.metrics.paired import Difference
from imagewright.names import shown

__all__ = [
    "Table",
    "class_table",
    "confusion_table",
    "image_table",
    "interval_of",
    "letter",
    "paired_table",
    "score_table",
    "setting_table",
    "write_images",
]

_NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """Rows of text under their headers; the first column is a name, the others are values."""

    headers: list[str]
    rows: list[list[str]]


def letter(number: int) -> str:
    """What a run is called in tables and pictures: A for the baseline, then B, and AA after Z."""
    text = ""
    while number >= 0:
        number, place = divmod(number, len(ascii_uppercase))
        text, number = ascii_uppercase[place] + text, number - 1
    return text


def interval_of(scores: Mapping[str, Any], name: str) -> Interval:
    """A score of ``scores.json`` with the ends of its interval, if it has one."""
    ends = scores.get("intervals", {}).get(name)
    return float(scores[name]), None if ends is None else (float(ends[0]), float(ends[1]))


def score_table(runs: Sequence[Evaluated]) -> Table:
    """The scores that are one number, each with its interval; of two runs also their difference."""
    names = {name: None for run in runs for name, value in run.scores.items() if isinstance(value, float)}
    names.pop("confidence", None)
    difference = len(runs) == 2
    rows = []
    for name in names:
        row = [name, *(_score(run.scores, name) for run in runs)]
        if difference:
            a, b = (run.scores.get(name) for run in runs)
            row.append(_NOTHING if a is None or b is None else f"{b - a:+.4f}")
        rows.append(row)
    return Table(["score", *map(letter, range(len(runs))), *(["B - A"] if difference else [])], rows)


def _score(scores: Mapping[str, Any], name: str) -> str:
    if scores.get(name) is None:
        return _NOTHING
    value, ends = interval_of(scores, name)
    return f"{value:.4f}" if ends is None else f"{value:.4f} [{ends[0]:.4f}, {ends[1]:.4f}]"


def paired_table(tests: Sequence[Against | None]) -> Table:
    """What the paired tests found, a column for each run but the baseline."""
    several = sum(tested is not None for tested in tests) > 1
    rows = [
        ["images that both have"],
        ["accuracy minus that of A, in points"],
        ["images that only A has right"],
        ["images that only this run has right"],
        ["p of McNemar's test"],
        ["macro F1 minus that of A"],
        ["p of the paired bootstrap"],
    ]
    for tested in tests:
        if tested is None:
            cells = ["0", *[_NOTHING] * (len(rows) - 1)]
        else:
            cells = [
                f"{tested.images:,}",
                _difference(tested.bootstrap.accuracy, 100, 2),
                f"{tested.mcnemar.only_a:,}",
                f"{tested.mcnemar.only_b:,}",
                _p(tested.mcnemar.p_value) + (f" ({_p(tested.p_accuracy)})" if several else ""),
                _difference(tested.bootstrap.f1_macro, 1, 4),
                _p(tested.bootstrap.f1_macro.p_value) + (f" ({_p(tested.p_f1_macro)})" if several else ""),
            ]
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    return Table(["paired with A", *map(letter, range(1, len(tests) + 1))], rows)


def _p(value: float) -> str:
    return p_words(value).removeprefix("p ").removeprefix("= ")


def _difference(found: Difference, times: float, decimals: int) -> str:
    value, low, high = (f"{times * number:+.{decimals}f}" for number in (found.difference, found.low, found.high))
    return f"{value} [{low}, {high}]"


def setting_table(settings: Sequence[Mapping[str, str]]) -> Table:
    """Parameters and what else made the runs, as far as they differ."""
    rows = [
        [shown(name), *(_NOTHING if value is None else shown(value) for value in values)]
        for name, values in changed(settings).items()
    ]
    return Table(["setting", *map(letter, range(len(settings)))], rows)


def class_table(changes: Sequence[ClassChange], number: int) -> Table:
    """F1 of each class in the baseline and in run ``number``."""
    rows = [
        [
            shown(change.name),
            f"{change.support:,}",
            f"{change.before:.4f}",
            f"{change.after:.4f}",
            f"{change.difference:+.4f} [{change.low:+.4f}, {change.high:+.4f}]",
        ]
        for change in changes
    ]
    return Table(["class", "images", "F1 in A", f"F1 in {letter(number)}", "change"], rows)


def confusion_table(found: Sequence[Confusion], number: int) -> Table:
    """Mistakes that are made more or less often in run ``number`` than in the baseline."""
    rows = [
        [
            shown(one.true),
            shown(one.predicted),
            f"{one.before:,}",
            f"{one.after:,}",
            f"{one.after - one.before:+,}",
        ]
        for one in found
    ]
    return Table(["true class", "taken for", "in A", f"in {letter(number)}", "change"], rows)


def image_table(found: Sequence[Disagreement], number_of_runs: int) -> Table:
    """Images that the runs do not take for the same."""
    rows = [
        [
            shown(one.path),
            shown(one.label),
            *(_NOTHING if guess is None else shown(guess) for guess in one.predictions),
            " ".join(letter(run) for run, guess in enumerate(one.predictions) if guess == one.label) or "none",
        ]
        for one in found
    ]
    return Table(["image", "class", *map(letter, range(number_of_runs)), "right"], rows)


def write_images(path: Path, found: Sequence[Disagreement], runs: Sequence[Evaluated]) -> None:
    """All images that the runs do not take for the same, as CSV: a prediction is empty where a run has not seen it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", *(f"prediction({run.run_id})" for run in runs)))
        table.writerows((one.path, one.label, *one.predictions) for one in found)
