"""Charts of what prepare found, as PNG files: counts, sizes, formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from imagewright.data.sources import SPLITS
from imagewright.inspection.summary import sizes
from imagewright.names import drawable
from imagewright.paper import (
    BLUE,
    COLOURS,
    FAINT,
    ORANGE,
    axes_on,
    bars,
    count_axis,
    fitted_on,
    headline,
    paper,
    save,
    whole_ticks,
    widest,
)

__all__ = ["draw_counts", "draw_modes", "draw_sizes"]

_BLUES = LinearSegmentedColormap.from_list("images", ["#c6dbef", "#6baed6", BLUE, "#08306b"])
_TIMES = "\N{MULTIPLICATION SIGN}"

# Beyond this number of classes, bars with names could not be read.
_BARS = 60
# The different sizes, or formats, that bars can show.
_SIZES = 12


def draw_counts(
    path: Path, classes: Sequence[str], counts: npt.NDArray[np.int64], unused: Sequence[int], dpi: int
) -> None:
    """Images of each class in each split: bars, or a curve of the sorted classes if there are many.

    Args:
        path: of the PNG file.
        classes: K names.
        counts: (K, 3), images in use.
        unused: K counts of images that are refused or left out.
        dpi: resolution.
    """
    parts = np.column_stack([counts, np.asarray(unused, np.int64)])
    names = (*SPLITS, "refused or left out")
    present = [part for part in range(len(names)) if parts[:, part].any()]
    if len(classes) <= _BARS:
        _draw_bars_of_counts(path, classes, parts, names, present, dpi)
    else:
        _draw_curve_of_counts(path, classes, parts, names, present, dpi)


def _draw_bars_of_counts(
    path: Path,
    classes: Sequence[str],
    parts: npt.NDArray[np.int64],
    names: Sequence[str],
    present: Sequence[int],
    dpi: int,
) -> None:
    figure = paper(9, max(0.6, 0.27 * len(classes)) + 1.35, dpi)
    labels = [fitted_on(figure, name, 2.2 * dpi, 10) for name in classes]
    axes = axes_on(figure, left=0.3 + widest(figure, labels), top=0.85, right=0.85, bottom=0.5)
    rows, left = np.arange(len(classes)), np.zeros(len(classes), np.int64)
    for part in present:
        axes.barh(rows, parts[:, part], left=left, height=0.72, color=(*COLOURS, ORANGE)[part], label=names[part])
        left += parts[:, part]
    for row, total in enumerate(left.tolist()):
        axes.text(total, row, f" {total:,}", va="center", fontsize=8, color=ORANGE if not total else "black")
    axes.set_xlim(0, max(int(left.max(initial=0)), 1))
    axes.set_yticks(rows, labels, parse_math=False)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    count_axis(axes, "images")
    headline(figure, axes, "Images of each class", legend=len(present))
    save(figure, path)


def _draw_curve_of_counts(
    path: Path,
    classes: Sequence[str],
    parts: npt.NDArray[np.int64],
    names: Sequence[str],
    present: Sequence[int],
    dpi: int,
) -> None:
    totals = parts.sum(axis=1)
    order = np.argsort(-totals, kind="stable")
    figure = paper(9, 4.6, dpi)
    axes = axes_on(figure, left=0.85, top=1.1, right=0.3, bottom=0.55)
    edges, base = np.arange(len(classes) + 1), np.zeros(len(classes), np.int64)
    for part in present:
        top = base + parts[order, part]
        axes.stairs(top, edges, baseline=base, fill=True, color=(*COLOURS, ORANGE)[part], label=names[part])
        base = top
    axes.set_xlim(0, len(classes))
    axes.set_ylim(0, max(int(totals.max()) * 1.05, 1))
    axes.yaxis.set_major_locator(whole_ticks())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_major_locator(whole_ticks())
    axes.set_ylabel("images")
    axes.set_xlabel("classes, the largest first")
    axes.grid(axis="y", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    largest, smallest = (
        f"{fitted_on(figure, classes[at], 2.2 * dpi, 9)} ({totals[at]:,})" for at in (order[0], order[-1])
    )
    headline(
        figure,
        axes,
        f"Images of each of {len(classes):,} classes",
        legend=len(present),
        below=f"from {largest} to {smallest}; the median class has {np.median(totals):,.0f}",
    )
    save(figure, path)


def draw_sizes(
    path: Path,
    heights: npt.NDArray[np.uint32],
    widths: npt.NDArray[np.uint32],
    stored: tuple[int, int],
    dpi: int,
) -> None:
    """Widths and heights of the originals: a bar for each size, or a map of many sizes.

    Args:
        path: of the PNG file.
        heights: of N images, in pixels; N at least 1.
        widths: of N images, in pixels.
        stored: height and width of the stored images, in pixels.
        dpi: resolution.
    """
    pairs, counts = sizes(heights, widths)
    if len(pairs) <= _SIZES:
        names = [f"{width} {_TIMES} {height}" for height, width in pairs.tolist()]
        figure = paper(9, 0.3 * len(names) + 1.25, dpi)
        axes = axes_on(figure, left=0.3 + widest(figure, names), top=0.6, right=0.9, bottom=0.5)
        bars(axes, names, counts.tolist())
        headline(figure, axes, f"Size of the originals, width {_TIMES} height in pixels")
    else:
        figure = paper(9, 6.2, dpi)
        axes = axes_on(figure, left=0.85, top=0.9, right=1.3, bottom=0.6)
        _draw_map_of_sizes(figure, axes, pairs, counts, stored)
        headline(
            figure,
            axes,
            f"{len(pairs):,} different sizes of originals, in pixels",
            below=f"in orange the size in which images are stored, {stored[1]} {_TIMES} {stored[0]}",
            colour=ORANGE,
        )
    save(figure, path)


def _draw_map_of_sizes(
    figure: Figure,
    axes: Axes,
    pairs: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    stored: tuple[int, int],
) -> None:
    low, high = min(int(pairs.min()), *stored), max(int(pairs.max()), *stored)
    # One huge image would press all others into a corner.
    logarithmic = high > 8 * low
    if logarithmic:
        # No bin is narrower than a pixel, or those without a whole number would draw stripes.
        edges = np.unique(np.geomspace(low, high + 1, 65).round()) - 0.5
    else:
        step = -(-(high - low + 1) // 64)
        edges = np.arange(low - 0.5, high + 0.5 + step, step)
    grid, _, _ = np.histogram2d(pairs[:, 0], pairs[:, 1], bins=(edges, edges), weights=counts)
    most = float(grid.max())
    norm = LogNorm(1, most) if most > 20 else Normalize(0, most)
    mesh = axes.pcolormesh(edges, edges, np.ma.masked_equal(grid, 0), cmap=_BLUES, norm=norm)
    axes.plot([edges[0], edges[-1]], [edges[0], edges[-1]], color=FAINT, linewidth=0.8, zorder=0)
    axes.plot(
        [stored[1]],
        [stored[0]],
        "o",
        markerfacecolor="none",
        markeredgecolor=ORANGE,
        markersize=11,
        mew=2,
        clip_on=False,
    )
    plain = FuncFormatter(lambda value, _: f"{value:,.0f}")
    if logarithmic:
        axes.set_xscale("log")
        axes.set_yscale("log")
        ticks = [step * 10**power for power in range(6) for step in (1, 2, 5)]
        ticks = [tick for tick in ticks if edges[0] <= tick <= edges[-1]]
        axes.set_xticks(ticks)
        axes.set_yticks(ticks)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(plain)
        axis.set_minor_locator(NullLocator())
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(edges[0], edges[-1])
    axes.set_xlabel("width" + (" (logarithmic)" if logarithmic else ""))
    axes.set_ylabel("height" + (" (logarithmic)" if logarithmic else ""))
    width = figure.get_size_inches()[0]
    box = axes.get_position()
    beside = figure.add_axes((box.x1 + 0.25 / width, box.y0, 0.16 / width, box.height))
    bar = figure.colorbar(mesh, cax=beside, format=plain)
    bar.outline.set_visible(False)
    bar.set_label("images")
    beside.yaxis.set_minor_locator(NullLocator())
    if most <= 20:
        beside.yaxis.set_major_locator(whole_ticks())


def draw_modes(path: Path, formats: Mapping[str, int], modes: Mapping[str, int], dpi: int) -> None:
    """File formats beside pixel formats, with the images of each.

    Args:
        path: of the PNG file.
        formats: name -> images, the most frequent first.
        modes: Pillow's name of the pixel format -> images, the most frequent first.
        dpi: resolution.
    """
    lists = [(list(found)[:_SIZES], list(found.values())[:_SIZES]) for found in (formats, modes)]
    rows = max(len(names) for names, _ in lists)
    figure = paper(9, 0.3 * rows + 1.25, dpi)
    for index, (title, (names, counts)) in enumerate(zip(("File format", "Pixel format"), lists, strict=True)):
        labels = [drawable(name) for name in names]
        left = 4.5 * index + 0.3 + widest(figure, labels)
        # Bars of both lists have the same height.
        bottom = 0.5 + 0.3 * (rows - len(names))
        axes = axes_on(figure, left=left, top=0.6, right=0.9 + 4.5 * (1 - index), bottom=bottom)
        bars(axes, labels, counts)
        headline(figure, axes, title, left=4.5 * index + 0.15)
    save(figure, path)
