"""Says whether one run is better than another, and where they differ."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from imagewright.comparison.page import write_page
from imagewright.comparison.statistics import (
    Against,
    Disagreement,
    Evaluated,
    against_all,
    class_changes,
    confusions,
    disagreements,
    verdict,
)
from imagewright.comparison.tables import (
    Table,
    class_table,
    confusion_table,
    image_table,
    letter,
    paired_table,
    score_table,
    setting_table,
    write_images,
)
from imagewright.errors import ConfigError, DataError
from imagewright.names import shown
from imagewright.stages.project import find_project
from imagewright.tracking.lookup import PREDICTIONS, SCORES, Store, StoredRun, fetch, find_run, last_runs
from imagewright.tracking.store import open_store

__all__ = ["DATA", "evaluated", "run"]

DATA = "data.test"
# Tags that say what else than parameters made a run.
_TAGS = {
    "mlflow.source.git.commit": "commit",
    "git.dirty": "changed since the commit",
    "data.train": "training images",
    "data.validation": "validation images",
    DATA: "test images",
}
# Lines of a table in the terminal, characters of a cell; the page has more.
_LINES, _LETTERS = 10, 48
_DIGITS = 16  # of a digest
_FEWEST = 100  # resamples


def run(arguments: Sequence[str]) -> None:
    """Print tables of the differences, and write the page."""
    parser = argparse.ArgumentParser(prog="imagewright compare", description=__doc__)
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help="id, start of an id, or name of a run; the first is the baseline (default: the last two, older one first)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the page (default: reports/comparison)")
    parser.add_argument(
        "--different-test-data", action="store_true", help="compare runs although their test images are not the same"
    )
    parser.add_argument("--confidence", type=_share, default=0.95, help="of the intervals (default: %(default)s)")
    parser.add_argument("--resamples", type=_count, default=2000, help="of the bootstrap (default: %(default)s)")
    given = parser.parse_intermixed_args(arguments)
    project = find_project()
    client = open_store(project.root)
    runs = _chosen(client, given.runs)
    _check_data(runs, allowed=given.different_test_data)
    tested = [evaluated(client, one) for one in runs]
    _check_classes(tested)
    tests = against_all(tested[0], tested[1:], confidence=given.confidence, resamples=given.resamples)
    found = disagreements(tested, [np.empty((2, 0), np.int64) if test is None else test.rows for test in tests])
    described, settings = _described(runs), setting_table([_settings(one) for one in runs])
    notes = _notes(tested, tests)
    out = given.out or project.paths["reports"] / "comparison"
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_images(out / "images.csv", found, tested)
        write_page(
            out / "index.html",
            tested,
            tests,
            described=described,
            settings=settings,
            notes=notes,
            images=found,
            images_file="images.csv",
            confidence=given.confidence,
        )
    except OSError as error:
        raise ConfigError(f"--out: {out} cannot be written ({error}); give another folder") from error
    _print(tested, tests, described, settings, notes, found, given.confidence)
    print(f"\npage    {out / 'index.html'}\nimages  {out / 'images.csv'}")


def evaluated(client: Store, stored: StoredRun) -> Evaluated:
    """What a run made of the test images, from its artifacts.

    Raises:
        DataError: it has no predictions, or they are broken.
        TrackingError: the store does not answer.
    """
    scores_file, predictions_file = (fetch(client, stored.run_id, artifact) for artifact in (SCORES, PREDICTIONS))
    try:
        scores = json.loads(scores_file.read_text("utf-8"))
        classes, rows = _read_predictions(predictions_file)
        number = {name: index for index, name in enumerate(classes)}
        labels, predicted = (np.array([number[row[column]] for row in rows], np.int64) for column in (1, 2))
        for name in ("accuracy", "f1_macro"):
            if not isinstance(scores[name], float):
                raise ValueError(f"{name} is {scores[name]!r}")
    except (LookupError, TypeError, ValueError, csv.Error) as error:
        reason = f"{type(error).__name__}: {shown(str(error))}"
        raise DataError(
            f"{stored}: {PREDICTIONS} or {SCORES} is not what evaluate writes ({reason}); run `dvc repro` anew"
        ) from error
    return Evaluated(
        run_id=stored.run_id,
        name=stored.name,
        classes=classes,
        data=stored.tags.get(DATA),
        params=stored.params,
        scores=scores,
        paths=[row[0] for row in rows],
        labels=labels,
        predicted=predicted,
    )


def _read_predictions(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the classes; path, label and prediction of each image."""
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.reader(file)
        header = next(table, [])
        names = [name[2:-1] for name in header[4:] if name.startswith("p(") and name.endswith(")")]
        if header[:3] != ["path", "label", "prediction"] or len(names) != len(header) - 4 or not names:
            raise ValueError(f"the columns are {', '.join(header[:5])}")
        rows = [row[:3] for row in table]
    if not rows:
        raise ValueError("there is no image")
    return names, rows


def _chosen(client: Store, texts: Sequence[str]) -> list[StoredRun]:
    """The runs that are named, or the last two; the baseline first."""
    if not texts:
        runs = last_runs(client, 2)[::-1]
        if len(runs) < 2:
            there = f"only {runs[0]} has" if runs else "none has"
            raise DataError(
                f"two finished runs with predictions of the test images are needed, {there}; run `dvc repro`"
            )
        return runs
    if len(texts) == 1:
        raise ConfigError(f"one run, {shown(texts[0])}, cannot be compared; name two or more, or none for the last two")
    runs = [find_run(client, text) for text in texts]
    for number, one in enumerate(runs):
        for text, other in zip(texts, runs[:number], strict=False):
            if one.run_id == other.run_id:
                raise ConfigError(f"{shown(text)} and {shown(texts[number])} mean the same {one}; name each run once")
    return runs


def _check_data(runs: Sequence[StoredRun], *, allowed: bool) -> None:
    digests = [one.tags.get(DATA) for one in runs]
    if allowed or (None not in digests and len({*digests}) == 1):
        return
    listed = ", ".join(f"{one}: {digest or 'unknown'}" for one, digest in zip(runs, digests, strict=True))
    raise DataError(
        f"the test images are not the same ({DATA} of {listed}), so their scores do not say which run is better; "
        f"--different-test-data compares them all the same"
    )


def _check_classes(runs: Sequence[Evaluated]) -> None:
    first = runs[0]
    for other in runs[1:]:
        if {*first.classes} != {*other.classes}:
            only = [sorted({*one.classes} - {*two.classes}) for one, two in ((first, other), (other, first))]
            listed = "; ".join(
                f"only {shown(one.name)!r} ({one.run_id[:8]}) has {', '.join(map(shown, names[:_LINES]))}"
                for one, names in zip((first, other), only, strict=True)
                if names
            )
            raise DataError(f"runs with different classes cannot be compared: {listed}")


def _described(runs: Sequence[StoredRun]) -> Table:
    rows = [
        ["name", *(shown(one.name) for one in runs)],
        ["id", *(one.run_id for one in runs)],
        ["began", *(f"{one.began:%Y-%m-%d %H:%M}" for one in runs)],
        ["commit", *(one.tags.get("mlflow.source.git.commit", "unknown")[:_DIGITS] for one in runs)],
        ["test images", *(one.tags.get(DATA, "unknown") for one in runs)],
    ]
    return Table(["run", *(f"{letter(number)}{'' if number else ' (baseline)'}" for number in range(len(runs)))], rows)


def _settings(stored: StoredRun) -> Mapping[str, str]:
    return {
        **stored.params,
        **{words: stored.tags[tag][:_DIGITS] for tag, words in _TAGS.items() if tag in stored.tags},
    }


def _notes(runs: Sequence[Evaluated], tests: Sequence[Against | None]) -> list[str]:
    notes = []
    first = runs[0]
    for number, (other, tested) in enumerate(zip(runs[1:], tests, strict=True), start=1):
        images = 0 if tested is None else tested.images
        if images < max(len(first.labels), len(other.labels)):
            notes.append(
                f"A was tested on {len(first.labels):,} images, {letter(number)} on {len(other.labels):,}; {images:,} "
                f"are in both, by path and class{', and paired' if images else ', so there is no paired test'}."
            )
    if sum(tested is not None for tested in tests) > 1:
        notes.append("Each run is compared with A; the verdict goes by p-values that Holm's method corrects for that.")
    return notes


# --- the terminal -----------------------------------------------------------------------------------------------------


def _print(
    runs: Sequence[Evaluated],
    tests: Sequence[Against | None],
    described: Table,
    settings: Table,
    notes: Sequence[str],
    images: Sequence[Disagreement],
    confidence: float,
) -> None:
    _print_table("", described)
    print()
    for number, tested in enumerate(tests, start=1):
        print(verdict("A", letter(number), tested, confidence)[1])
    for words in notes:
        print(words)
    _print_table("What differs between them", settings)
    _print_table("Scores on the test images", score_table(runs), lines=None)
    _print_table(f"Paired tests against A, with intervals of {100 * confidence:g} %", paired_table(tests), lines=None)
    for number, tested in enumerate(tests, start=1):
        if tested is not None:
            classes = [change for change in class_changes(runs[0].classes, tested) if change.difference]
            mistaken = confusions(runs[0].classes, tested)
            _print_table(f"F1 by class where {letter(number)} differs from A", class_table(classes, number))
            _print_table(f"Mistakes where {letter(number)} differs from A", confusion_table(mistaken, number))
    _print_table("Images that they do not take for the same", image_table(images, len(runs)))


def _print_table(title: str, table: Table, lines: int | None = _LINES) -> None:
    """Print the first lines of a table, nothing if there are none."""
    if not table.rows:
        return
    rows = [[_cut(cell) for cell in row] for row in table.rows[:lines]]
    if title:
        print(f"\n{title}\n")
    print(tabulate(rows, headers=table.headers, disable_numparse=True))
    if len(rows) < len(table.rows):
        print(f"... and {len(table.rows) - len(rows):,} more")


def _cut(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 3]}..."


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be above 0 and below 1, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < _FEWEST:
        raise argparse.ArgumentTypeError(f"must be {_FEWEST} or more, got {text}")
    return value
