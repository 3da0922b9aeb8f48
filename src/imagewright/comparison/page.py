"""The page of a comparison: one HTML file that needs no other."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from imagewright.comparison.pictures import draw_class_changes, draw_confusion_change, draw_scores
from imagewright.comparison.statistics import (
    Against,
    Disagreement,
    Evaluated,
    class_changes,
    confusions,
    verdict,
)
from imagewright.comparison.tables import (
    Table,
    class_table,
    confusion_table,
    image_table,
    interval_of,
    letter,
    paired_table,
    score_table,
)
from imagewright.names import shown
from imagewright.page import data_uri, render

__all__ = ["write_page"]

# Lines of a table on the page; the CSV file has all images.
_IMAGES, _CONFUSIONS, _CLASSES = 100, 50, 1000
_SCORES = {"accuracy": "accuracy", "f1_macro": "macro F1"}
_DPI = 144  # for screens that are finer than a page
_CHART = 500  # pixels of the page


@dataclass(frozen=True)
class _Picture:
    """A picture as part of the page, with its widths in pixels of the page."""

    uri: str
    words: str
    width: int
    least: int


@dataclass(frozen=True)
class _Section:
    """A run against the baseline."""

    title: str
    pictures: list[_Picture]
    classes: Table
    more_classes: int
    confusions: Table
    more_confusions: int


def write_page(
    path: Path,
    runs: Sequence[Evaluated],
    tests: Sequence[Against | None],
    *,
    described: Table,
    settings: Table,
    notes: Sequence[str],
    images: Sequence[Disagreement],
    images_file: str,
    confidence: float,
) -> None:
    """Write the page; every text in it is escaped.

    Args:
        path: of the HTML file.
        runs: the baseline first.
        tests: of each other run against it.
        described: what is said of each run.
        settings: in which they differ.
        notes: sentences under the verdict.
        images: that not all runs take for the same.
        images_file: where all of them are, relative to the page.
        confidence: of the intervals of the differences.
    """
    letters = [letter(number) for number in range(len(runs))]
    with tempfile.TemporaryDirectory() as folder:
        scores = _draw_scores(Path(folder) / "scores.png", runs, letters)
        sections = [
            _section(Path(folder), runs[0].classes, tested, number)
            for number, tested in enumerate(tests, start=1)
            if tested is not None
        ]
    page = render(
        "imagewright.comparison",
        "comparison.html.j2",
        title=f"Comparison of {len(runs)} runs",
        names={mark: _short(run.name) for mark, run in zip(letters, runs, strict=True)},
        verdicts=[verdict("A", other, tested, confidence) for other, tested in zip(letters[1:], tests, strict=True)],
        notes=notes,
        runs=described,
        scores=score_table(runs),
        scores_picture=scores,
        tests=paired_table(tests),
        several=len(tests) > 1,
        confidence=confidence,
        settings=settings,
        sections=sections,
        images=image_table(images[:_IMAGES], len(runs)),
        number_of_images=len(images),
        images_file=images_file,
    )
    path.write_text(page, encoding="utf-8")


def _short(name: str) -> str:
    text = shown(name)
    return text if len(text) <= 120 else f"{text[:119]}…"


def _draw_scores(path: Path, runs: Sequence[Evaluated], letters: Sequence[str]) -> _Picture:
    drawn = {words: [interval_of(run.scores, name) for run in runs] for name, words in _SCORES.items()}
    draw_scores(path, letters, drawn, _DPI)
    return _picture(path, "Scores of each run with their intervals")


def _picture(path: Path, words: str) -> _Picture:
    with Image.open(path) as picture:
        width = round(picture.width / _DPI * 96)
    # A phone shows a chart as wide as it is; what is wider than a chart could not be read there, and is scrolled.
    return _Picture(data_uri(path), words, width, min(width, 900) if width > _CHART else 0)


def _section(folder: Path, classes: list[str], tested: Against, number: int) -> _Section:
    marks = (letter(0), letter(number))
    changes, mistaken = class_changes(classes, tested), confusions(classes, tested)
    before, after = tested.confusion_matrices()
    draw_class_changes(folder / "classes.png", changes, marks, _DPI)
    draw_confusion_change(folder / "confusions.png", after - before, classes, marks, _DPI)
    return _Section(
        title=f"{marks[1]} against {marks[0]}",
        pictures=[
            _picture(folder / "classes.png", "Change of F1 by class"),
            _picture(folder / "confusions.png", "Change of the confusion matrix"),
        ],
        classes=class_table(changes[:_CLASSES], number),
        more_classes=max(len(changes) - _CLASSES, 0),
        confusions=confusion_table(mistaken[:_CONFUSIONS], number),
        more_confusions=max(len(mistaken) - _CONFUSIONS, 0),
    )
