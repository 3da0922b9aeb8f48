"""Predicts the classes of any images, by any model."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import islice
from pathlib import Path

from tabulate import tabulate
from tqdm import tqdm

from imagewright.cli.model import HELP, find_model, is_there, load
from imagewright.data.sources import Refused
from imagewright.data.sources.files import walk
from imagewright.errors import DataError
from imagewright.evaluation.images import Model, Probabilities, predict_images
from imagewright.names import shown

__all__ = ["run"]

_NOBODY_READS = 141  # 128 + SIGPIPE, as a shell reports it
_TOP = 3  # classes that a table names for each image
_LETTERS = 40  # of the name of a class in a table


def run(arguments: Sequence[str]) -> int:
    """Print the classes of images.

    Returns:
        exit status: 0 if all images were predicted, 1 if some could not be.
    """
    given = _parsed(arguments)
    paths, bad = _listed(given.images)
    model = load(find_model(given.model))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every letter
    for path, why in bad:
        _report(path, why)
    count = len(bad) + len(paths)
    try:
        with closing(_predicted(model, paths, given.batch_size, bad)) as rows:
            _print(_FORMATS[given.format](rows, model.classes, given.top), given.batch_size)
    except BrokenPipeError:
        # Nobody reads on, as with `| head`; Python would complain once more when it flushes what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    if bad:
        print(f"predicted {count - len(bad)} of {count} images; the others are named above", file=sys.stderr)
    return 1 if bad else 0


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="imagewright predict",
        description="Predict the classes of images. Exit status: 0 all were predicted, 1 some could not be.",
    )
    parser.add_argument("images", nargs="+", metavar="FILE|FOLDER", help="images, or folders with images at any depth")
    parser.add_argument("--model", metavar="RUN|FILE", help=HELP)
    parser.add_argument("--format", choices=_FORMATS, default="table", help="of what is printed (default: %(default)s)")
    parser.add_argument(
        "--top",
        type=_count,
        metavar="K",
        help=f"classes that are named for each image (default: {_TOP} in a table, all in JSON; CSV always has all)",
    )
    parser.add_argument(
        "--batch-size",
        type=_count,
        metavar="B",
        default=64,
        help="images that go through the network at once (default: %(default)s)",
    )
    given = parser.parse_intermixed_args(arguments)
    if given.top is not None and given.format == "csv":
        parser.error("argument --top: CSV has a column for each class; leave it out, or choose --format json")
    return given


def _print(texts: Iterator[str], at_once: int) -> None:
    while part := list(islice(texts, at_once)):
        # On a terminal, the bar makes way, which takes longer than what is written.
        with tqdm.external_write_mode(sys.stdout) if sys.stdout.isatty() else nullcontext():
            sys.stdout.writelines(part)
    sys.stdout.flush()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return number


def _listed(texts: Sequence[str]) -> tuple[list[str], list[tuple[str, Refused]]]:
    """Paths of the images, and those that cannot even be tried."""
    paths: list[str] = []
    bad: list[tuple[str, Refused]] = []
    ignored: Counter[str] = Counter()
    for text in texts:
        if not (is_there(text) and Path(text).is_dir()):
            paths.append(text)  # what is wrong with one that is not there is said when it is read
            continue
        for found in walk(Path(text)):
            path = f"{text.removesuffix('/')}/{found.path}"
            if found.ignored:
                ignored[found.ignored] += 1
            elif found.refused:
                bad.append((path, found.refused))
            else:
                paths.append(path)
    kinds = ", ".join(f"{count} {kind}" for kind, count in ignored.most_common())
    if ignored:
        print(f"note: ignored, as no images: {kinds}", file=sys.stderr)
    if not paths and not bad:
        where = ", ".join(shown(text) for text in texts)
        raise DataError(f"{where}: holds no images{f' (ignored: {kinds})' if kinds else ''}; name files or folders")
    return paths, bad


def _predicted(
    model: Model, paths: Sequence[str], batch_size: int, bad: list[tuple[str, Refused]]
) -> Generator[tuple[str, Probabilities], None, None]:
    """Path and probabilities of each image that can be used; the others are reported and go to ``bad``."""
    with (
        tqdm(total=len(paths), desc="predict", unit="image", mininterval=0.5, disable=None) as bar,
        closing(predict_images(model, paths, batch_size, bar.update)) as results,
    ):
        for path, result in zip(paths, results, strict=True):
            if isinstance(result, Refused):
                bad.append((path, result))
                _report(path, result)
            else:
                yield path, result


def _report(path: str, why: Refused) -> None:
    tqdm.write(f"{shown(path)}: {why.reason}: {shown(why.detail)}", file=sys.stderr)


# --- what is printed --------------------------------------------------------------------------------------------------

_Rows = Iterator[tuple[str, Probabilities]]


def _best(shares: Probabilities, number: int | None) -> list[int]:
    """The most probable classes, the first of equal ones first."""
    return [int(index) for index in (-shares).argsort(kind="stable")[:number]]


def _csv(rows: _Rows, classes: Sequence[str], _: int | None) -> Iterator[str]:
    yield _csv_line(("path", "class", "confidence", *(f"p({shown(name)})" for name in classes)))
    for path, shares in rows:
        best = int(shares.argmax())
        yield _csv_line((shown(path), shown(classes[best]), *(f"{share:.9g}" for share in (shares[best], *shares))))


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue()


def _json(rows: _Rows, classes: Sequence[str], top: int | None) -> Iterator[str]:
    yield "["
    separator = "\n"
    for path, shares in rows:
        values = {shown(classes[index]): float(f"{shares[index]:.9g}") for index in _best(shares, top)}
        best = next(iter(values))
        row = {"path": path, "class": best, "confidence": values[best], "probabilities": values}
        # The path as it is, so that the file can be opened by it. What no terminal should get is escaped.
        yield separator + json.dumps(row, ensure_ascii=shown(path) != path)
        separator = ",\n"
    yield "\n]\n"


def _table(rows: _Rows, classes: Sequence[str], top: int | None) -> Iterator[str]:
    lines = []
    for path, shares in rows:
        first, *others = (f"{_cut(classes[index])} {shares[index]:.2%}" for index in _best(shares, top or _TOP))
        name, _, share = first.rpartition(" ")
        lines.append((shown(path), name, share, ", ".join(others)))
    if lines:
        headers = ("image", "class", "confidence", "then")
        aligned = ("left", "left", "right", "left")
        for line in tabulate(lines, headers=headers, disable_numparse=True, colalign=aligned).split("\n"):
            yield f"{line}\n"


def _cut(name: str) -> str:
    text = shown(name)
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"


_FORMATS = {"table": _table, "csv": _csv, "json": _json}
