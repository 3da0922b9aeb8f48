"""Sheets of images that a person should look at, as PNG files: extremes of brightness, examples, duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import IdentityTransform

from imagewright.data.findings import Findings
from imagewright.data.sources import SPLITS
from imagewright.inspection.columns import Columns, examples
from imagewright.inspection.summary import extremes
from imagewright.paper import (
    COLOURS,
    FAINT,
    ORANGE,
    Pasted,
    axes_on,
    fitted_on,
    headline,
    paper,
    save,
    thumbnails,
    write,
)

__all__ = ["draw_brightness", "draw_duplicates", "draw_examples"]

# Examples: images of a class, classes of a sheet, sheets.
_EACH, _ROWS, _SHEETS = 8, 20, 10
# Duplicates: groups, images of a group and in a line.
_GROUPS, _MEMBERS = 12, 6


def draw_brightness(path: Path, findings: Findings, columns: Columns, dpi: int) -> None:
    """Mean brightness of the images of each split, above the darkest and the brightest images.

    Args:
        path: of the PNG file.
        findings: at least one image is in use.
        columns: of the findings.
        dpi: resolution.
    """
    side = round(0.85 * dpi)
    shown_rows = extremes(findings, columns, 8)
    strips = [thumbnails(findings.pixels(rows), side) for rows in shown_rows]
    cell = max(strip.shape[1] for strip in strips)
    figure = paper(9, 4.2 + 2 * (cell / dpi + 0.28) + 0.1, dpi)
    axes = axes_on(figure, left=0.75, top=0.85, right=0.3, bottom=0.6 + 2 * (cell / dpi + 0.28) + 0.1)
    brightness, splits = findings.records["brightness"][columns.used], columns.splits[columns.used]
    bins = 64 if len(columns.used) >= 5000 else 32
    drawn = 0
    for index, split in enumerate(SPLITS):
        counts, edges = np.histogram(brightness[splits == index], bins=bins, range=(0, 256))
        if counts.any():
            shares = counts / counts.sum()
            axes.stairs(shares, edges, color=COLOURS[index], linewidth=1.8, fill=index == 0, label=split)
            drawn += 1
    axes.set_xlim(0, 256)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xticks([0, 64, 128, 192, 255])
    axes.set_xlabel("mean of the stored pixels, from 0 (black) to 255 (white)")
    axes.set_ylabel("images of the split")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    headline(figure, axes, "Brightness", legend=drawn)
    pasted: list[Pasted] = []
    page_width, page_height = figure.canvas.get_width_height()
    for line, (name, rows, strip) in enumerate(zip(("darkest", "brightest"), shown_rows, strips, strict=True)):
        top = page_height - round((2 - line) * (cell + 0.28 * dpi))
        write(figure, round(0.15 * dpi), top + strip.shape[1] / 2, name, va="center")
        left = round(0.95 * dpi)
        for row, pixels in zip(rows, strip, strict=True):
            pasted.append((pixels, left, top))
            words = f"{findings.records['brightness'][row]:.1f}"
            write(figure, left + pixels.shape[1] / 2, top + len(pixels) + 0.03 * dpi, words, size=7.5, ha="center")
            left += pixels.shape[1] + round(0.08 * dpi)
            if left + pixels.shape[1] > page_width:
                break
    save(figure, path, pasted)


def draw_examples(folder: Path, findings: Findings, columns: Columns, dpi: int) -> list[str]:
    """Sheets of examples, a line for each class; of the first 200 classes.

    Args:
        folder: gets ``examples-1.png`` and so on: names of classes never become names of files.
        findings: at least one image is in use.
        columns: of the findings.
        dpi: resolution.

    Returns:
        names of the files.
    """
    classes = findings.listing.classes[: _ROWS * _SHEETS]
    chosen = examples(columns, len(classes), _EACH)
    side = round((0.85 if len(classes) <= _ROWS else 0.65) * dpi)
    files: list[str] = []
    for first in range(0, len(classes), _ROWS):
        some = slice(first, first + _ROWS)
        files.append(f"examples-{len(files) + 1}.png")
        totals = columns.counts[some].sum(axis=1).tolist()
        title = "Examples of each class" + (f", {first + 1} to {first + len(totals)}" if len(classes) > _ROWS else "")
        _draw_sheet(folder / files[-1], findings, title, classes[some], totals, chosen[some], side, dpi)
    return files


def _draw_sheet(
    path: Path,
    findings: Findings,
    title: str,
    classes: Sequence[str],
    totals: Sequence[int],
    chosen: Sequence[Sequence[int]],
    side: int,
    dpi: int,
) -> None:
    # Class by class: the pixels of a whole sheet of large images would fill the memory.
    lines = [thumbnails(findings.pixels(rows), side) if rows else None for rows in chosen]
    height, width = next((line.shape[1:3] for line in lines if line is not None), (side, side))
    gap = round(0.06 * dpi)
    left, top = round(1.75 * dpi), round(0.5 * dpi)
    step = max(height, round(0.36 * dpi)) + gap
    figure = paper((left + _EACH * (width + gap)) / dpi + 0.1, (top + len(classes) * step) / dpi + 0.1, dpi)
    pasted: list[Pasted] = []
    write(figure, 0.15 * dpi, 0.15 * dpi, title, size=12, weight="bold")
    for row, (name, total, line) in enumerate(zip(classes, totals, lines, strict=True)):
        y = top + row * step
        words = f"{fitted_on(figure, name, left - 0.25 * dpi, 9)}\n{_plural(total) if total else 'no images'}"
        write(figure, 0.15 * dpi, y + height / 2, words, va="center", color="black" if total else ORANGE)
        for column, pixels in enumerate(line if line is not None else ()):
            pasted.append((pixels, left + column * (width + gap), y))
    save(figure, path, pasted)


def draw_duplicates(path: Path, findings: Findings, columns: Columns, dpi: int) -> None:
    """Groups of images that are the same, side by side, those with different labels first and framed in orange.

    Args:
        path: of the PNG file.
        findings: with at least one group.
        columns: of the findings.
        dpi: resolution.
    """
    order = columns.duplicates.by_concern()
    groups = order[:_GROUPS]
    members = [findings.duplicates[group].members[:_MEMBERS] for group in groups]
    images = [thumbnails(findings.pixels(rows), round(0.95 * dpi)) for rows in members]
    height, width = images[0].shape[1:3]
    cell, inset = max(width, round(1.22 * dpi)) + round(0.08 * dpi), round(0.1 * dpi)
    gap, head, line = round(0.16 * dpi), round(0.28 * dpi), height + round(0.8 * dpi)
    places = list(_flow([len(rows) for rows in members]))
    lines = places[-1][0] + 1
    left, top = round(0.15 * dpi), round(0.55 * dpi)
    # Groups of a line have gaps between them: at most three stand side by side.
    wide = left + _MEMBERS * cell + _MEMBERS // 2 * (gap + 2 * inset)
    figure = paper(wide / dpi, (top + lines * (line + gap)) / dpi, dpi)
    pasted: list[Pasted] = []
    more = f"; {len(groups)} of {len(order):,} groups" if len(groups) < len(order) else ""
    write(figure, left, 0.15 * dpi, f"Images that are the same{more}", size=12, weight="bold")
    for group, rows, pictures, (below, before, earlier) in zip(groups, members, images, places, strict=True):
        conflict = bool(columns.duplicates.conflict[group])
        colour = ORANGE if conflict else "black"
        x, y = left + before * cell + earlier * (gap + 2 * inset), top + below * (line + gap)
        figure.add_artist(
            Rectangle(
                (x, figure.canvas.get_width_height()[1] - y - line),
                len(rows) * cell + 2 * inset,
                line,
                fill=False,
                edgecolor=ORANGE if conflict else FAINT,
                linewidth=2 if conflict else 1,
                transform=IdentityTransform(),
            )
        )
        write(figure, x + inset, y + head / 2, _words(findings, columns, group), va="center", size=8, color=colour)
        for column, (row, pixels) in enumerate(zip(rows, pictures, strict=True)):
            at = x + inset + column * cell
            pasted.append((pixels, at, y + head))
            sample = findings.listing.samples[row]
            split = str(findings.splits[row]) or "left out"
            name = fitted_on(figure, findings.listing.classes[sample.label], cell - 0.05 * dpi, 6.5)
            file = fitted_on(figure, sample.path, cell - 0.05 * dpi, 6.5, end=True)
            caption = f"{name}\n{split}\n{file}"
            write(figure, at, y + head + height + 0.04 * dpi, caption, size=6.5)
    save(figure, path, pasted)


def _words(findings: Findings, columns: Columns, group: int) -> str:
    """What stands above a group."""
    rest = len(findings.duplicates[group].members) - _MEMBERS
    words = [str(group + 1), findings.duplicates[group].kind]
    words += [f"{rest:,} more"] if rest > 0 else []
    words += ["labels differ"] if columns.duplicates.conflict[group] else []
    words += ["different splits"] if columns.duplicates.splits[group].sum() > 1 else []
    return " · ".join(words)


def _flow(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """For groups of so many images: their line, and the images and groups before them in it."""
    line = images = groups = 0
    for size in sizes:
        if images + size > _MEMBERS:
            line, images, groups = line + 1, 0, 0
        yield line, images, groups
        images, groups = images + size, groups + 1


def _plural(number: int) -> str:
    return f"{number:,} image" if number == 1 else f"{number:,} images"
