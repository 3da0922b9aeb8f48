"""The confusion matrix as a picture, for two classes as for a thousand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from imagewright.paper import (
    BLUES,
    FAINT,
    MUTED,
    ORANGE,
    ORANGES,
    WIDTH,
    Images,
    coloured,
    fitted_on,
    paper,
    save,
    widest,
    write,
)

__all__ = ["draw_confusion_matrix"]

# Classes up to which a cell has room for a count and a share, for a count, and a line for a name.
_SHARES, _NUMBERS, _NAMES = 15, 30, 200
_PAIRS = 15
# Pixels of a cell below which it needs those around it.
_SMALL = 4
# Inches beside the matrix and its names.
_MARGINS = 0.55

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def draw_confusion_matrix(path: Path, matrix: Sequence[Sequence[int]], classes: Sequence[str], *, dpi: int) -> None:
    """Counts of true and predicted classes, the colour being the share of the true class: hits blue, mistakes orange.

    Where cells are too small for numbers, the most confused pairs stand below.

    Args:
        path: of the PNG file.
        matrix: K rows (true class) of K counts (predicted class).
        classes: K names.
        dpi: resolution.
    """
    counts = np.asarray(matrix, np.int64)
    size = len(classes)
    font = 8.0 if size <= _SHARES else min(10.0, 61 * _inches(size))
    names, room = _names(classes, font, dpi) if size <= _NAMES else ([], 0)
    cell = max(1, int(_inches(size) * dpi))
    if size <= _SHARES:
        cell = min(cell, (round((WIDTH - _MARGINS) * dpi) - room) // size)
    side = size * cell + 1
    # Pages show all pictures in one width: a wider one needs larger letters and margins.
    scale = max(1.0, (room + side) / dpi / (WIDTH - _MARGINS))
    unit = scale * dpi
    left, top = round((_MARGINS - 0.15) * unit) + room, round(0.75 * unit)
    level = room < cell
    under = (round(font / 72 * 1.5 * dpi) if level else room) + round(0.3 * unit)
    pairs = _most_confused(counts)
    listed = round((0.5 + 0.21 * max(len(pairs), 1)) * unit) if size > _NUMBERS else 0
    figure = paper(WIDTH * scale, (top + side + under + listed) / dpi + 0.1, dpi)

    pixels = _pixels(counts, cell)
    height = figure.canvas.get_width_height()[1]
    figure.figimage(pixels, left, height - top - side)
    if size <= _NUMBERS:
        _write_numbers(figure, counts, left, top, cell)
    for at, name in enumerate(names):
        middle = (at + 0.5) * cell
        write(figure, left - 0.06 * dpi, top + middle, name, size=font, ha="right", va="center")
        if level:
            write(figure, left + middle, top + side + 0.05 * dpi, name, size=font, ha="center")
        else:
            place = (left + middle, top + side + 0.06 * dpi)
            write(figure, *place, name, size=font, ha="right", va="center", rotation=90)
    write(figure, 0.13 * unit, top + side / 2, "true class", size=9 * scale, ha="center", rotation=90)
    write(figure, left + side / 2, top + side + under, "predicted class", size=9 * scale, ha="center", va="bottom")
    hits, total = int(np.trace(counts)), int(counts.sum())
    title = f"{hits:,} of {total:,} test images right ({hits / max(total, 1):.2%})"
    write(figure, 0.15 * unit, 0.15 * unit, title, size=12 * scale, weight="bold")
    words = f"Shares of each true class: hits in blue, mistakes in orange, up to {_errors(counts).max():.1%}."
    write(figure, 0.15 * unit, 0.45 * unit, words, size=9 * scale, color=MUTED)
    if listed:
        _write_pairs(figure, counts, classes, pairs, top + side + under + 0.2 * unit, scale)
    save(figure, path)


def _inches(size: int) -> float:
    """Side of a cell, if there is room for it."""
    if size <= _SHARES:
        return 0.62
    if size <= _NUMBERS:
        return 0.25
    return min(0.2, max(0.06, 8.5 / size)) if size <= _NAMES else 8.5 / size


def _names(classes: Sequence[str], font: float, dpi: int) -> tuple[list[str], int]:
    """Names cut to their place, and the pixels of the widest."""
    figure = paper(1, 1, dpi)
    wide = 1.15 if len(classes) <= _SHARES else 1.5
    names = [fitted_on(figure, name, wide * dpi, font) for name in classes]
    return names, round(widest(figure, names, font) * dpi)


def _shares(counts: Counts) -> Floats:
    shares: Floats = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return shares


def _errors(counts: Counts) -> Floats:
    """Shares of the true class that are mistakes; 0 on the diagonal."""
    shares = _shares(counts)
    np.fill_diagonal(shares, 0)
    return shares


def _pixels(counts: Counts, cell: int) -> Images:
    """The matrix in colours, with lines between the cells if they have room for them."""
    errors, hits = _errors(counts), np.diag(np.diag(_shares(counts)))
    if cell < _SMALL:
        errors, hits = _grown(errors), _grown(hits)
    # Mistakes have a colour and a scale of their own: beside the hits, a share of a few percent would not be seen. The
    # root lets one mistake be seen beside many.
    colours = coloured(np.sqrt(errors / max(errors.max(), 1e-9)) / 2, ORANGES)
    colours[hits > 0] = coloured(hits[hits > 0], BLUES)
    pixels = np.full((len(counts) * cell + 1, len(counts) * cell + 1, 3), 255, np.uint8)
    pixels[:-1, :-1] = colours.repeat(cell, axis=0).repeat(cell, axis=1)
    if cell > _SMALL:
        pixels[::cell] = pixels[:, ::cell] = np.round(np.multiply(to_rgb(FAINT), 255))
    return pixels


def _grown(values: Floats) -> Floats:
    """Each value also in the cells around it, where that is the largest: a single pixel is not seen."""
    padded = np.pad(values, 1)
    size = len(values)
    grown: Floats = np.max(
        [padded[row : row + size, column : column + size] for row, column in np.ndindex(3, 3)], axis=0
    )
    return grown


def _write_numbers(figure: Figure, counts: Counts, left: int, top: int, cell: int) -> None:
    shares, dpi = _shares(counts), figure.dpi
    digits = len(str(counts.max()))
    # A digit is as wide as 0.64 of its font's size.
    font = min(8.0, cell / dpi * 72 * 0.85 / (0.64 * max(digits, 4 if len(counts) <= _SHARES else 1)))
    for row, column in np.argwhere(counts).tolist():
        count, share = counts[row, column], shares[row, column]
        words = f"{count}\n{share:.0%}" if len(counts) <= _SHARES else str(count)
        colour = "white" if row == column and share > 0.5 else "black"
        place = (left + (column + 0.5) * cell, top + (row + 0.5) * cell)
        write(figure, *place, words, size=font, color=colour, ha="center", va="center")


def _most_confused(counts: Counts) -> list[tuple[int, int]]:
    """True and predicted class of the cells with the most mistakes; of equal ones first that of the larger share."""
    errors = counts.copy()
    np.fill_diagonal(errors, 0)
    rows, columns = errors.nonzero()
    order = np.lexsort((-_shares(counts)[rows, columns], -errors[rows, columns]))[:_PAIRS]
    return [*zip(rows[order].tolist(), columns[order].tolist(), strict=True)]


def _write_pairs(
    figure: Figure, counts: Counts, classes: Sequence[str], pairs: Sequence[tuple[int, int]], top: float, scale: float
) -> None:
    dpi = figure.dpi * scale
    left, line = 0.15 * dpi, 0.21 * dpi
    title = "The most confused pairs: true class, predicted class"
    write(figure, left, top, title if pairs else "No class is taken for another.", size=9 * scale, weight="bold")
    for at, (true, predicted) in enumerate(pairs, start=1):
        y = top + (at + 0.15) * line
        count, total = counts[true, predicted], counts[true].sum()
        write(figure, left, y, fitted_on(figure, classes[true], 1.55 * dpi, 9 * scale), size=9 * scale)
        name = fitted_on(figure, classes[predicted], 1.55 * dpi, 9 * scale)
        write(figure, left + 1.65 * dpi, y, name, size=9 * scale, color=ORANGE)
        words = f"{count:,} of {total:,} ({count / total:.0%})"
        write(figure, left + 4.7 * dpi, y, words, size=9 * scale, ha="right")
