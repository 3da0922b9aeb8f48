"""Pictures of a comparison, as PNG files: better is blue or teal, worse is orange."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from imagewright.comparison.statistics import ClassChange
from imagewright.names import drawable, shown
from imagewright.paper import (
    BLUE,
    FAINT,
    GREY,
    MUTED,
    ORANGE,
    TEAL,
    WIDTH,
    axes_on,
    fitted_on,
    headline,
    paper,
    save,
    widest,
    write,
)

__all__ = ["Interval", "draw_class_changes", "draw_confusion_change", "draw_scores"]

# A score and the ends of its interval, if it has one.
Interval = tuple[float, tuple[float, float] | None]

# Lighter at its ends than SIGNED of the paper: there are numbers in the cells.
_CHANGE = LinearSegmentedColormap.from_list("change", [ORANGE, "#fdd0a2", "#ffffff", "#c6dbef", BLUE])
_LINE = 0.3  # inches
_CLASSES = 30  # of a chart
# Classes of a matrix up to which a cell has room for a number, and a line for a name.
_NUMBERS, _NAMES = 30, 200
_SIDE = 14.0  # inches; of the largest matrix


def draw_scores(path: Path, names: Sequence[str], scores: dict[str, list[Interval]], dpi: int) -> None:
    """Scores of each run with their intervals, one above the other; a line marks the baseline.

    Args:
        path: of the PNG file.
        names: short ones of the runs, the baseline first.
        scores: name of a score -> of each run.
        dpi: resolution.
    """
    height = len(names) * _LINE + 0.75
    figure = paper(WIDTH, 0.45 + height * len(scores), dpi)
    write(figure, 0.15 * dpi, 0.15 * dpi, "Scores on the test images, with their intervals", size=12, weight="bold")
    page = float(figure.get_size_inches()[1])
    for number, (name, values) in enumerate(scores.items()):
        top = 0.45 + number * height
        axes = axes_on(figure, left=0.5, top=top + 0.25, right=0.3, bottom=page - top - height + 0.3)
        write(figure, 0.5 * dpi, (top + 0.02) * dpi, name, weight="bold")
        axes.axvline(values[0][0], color=FAINT, linewidth=1.5, zorder=0)
        for row, (score, ends) in enumerate(values):
            if ends is not None:
                axes.plot(ends, (row, row), color=TEAL, linewidth=3, solid_capstyle="butt")
            axes.plot([score], [row], "o", color=GREY if row == 0 else TEAL, markersize=7, markeredgecolor="black")
        _lines(figure, axes, names)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    save(figure, path)


def draw_class_changes(path: Path, changes: Sequence[ClassChange], names: tuple[str, str], dpi: int) -> None:
    """How F1 of the classes changed, with intervals; the classes of the largest changes, the best first.

    Args:
        path: of the PNG file.
        changes: the largest first, at least one.
        names: of the baseline and the other run.
        dpi: resolution.
    """
    chosen = sorted(changes[:_CLASSES], key=lambda change: -change.difference)
    title = "Change of F1 by class"
    if len(changes) > len(chosen):
        title += f", the {len(chosen)} largest of {len(changes)}"
    figure = paper(WIDTH, len(chosen) * _LINE + 1.35, dpi)
    axes = axes_on(figure, left=1.4, top=0.75, right=0.3, bottom=0.6)
    for row, change in enumerate(chosen):
        axes.barh(row, change.difference, height=0.6, color=ORANGE if change.difference < 0 else TEAL)
        axes.plot((change.low, change.high), (row, row), color=MUTED, linewidth=1.2)
    axes.axvline(0, color="black", linewidth=0.8)
    _lines(figure, axes, [change.name for change in chosen])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+g}" if abs(value) > 1e-9 else "0"))
    axes.set_xlabel(f"F1 of {shown(names[1])} minus F1 of {shown(names[0])}")
    headline(figure, axes, title, below="Bars to the right: better. The lines are intervals of each class alone.")
    save(figure, path)


def draw_confusion_change(
    path: Path, difference: npt.NDArray[np.int64], classes: Sequence[str], names: tuple[str, str], dpi: int
) -> None:
    """How the confusion matrix changed: blue where it is better (more hits, fewer mistakes), orange where worse.

    Args:
        path: of the PNG file.
        difference: counts of the other run minus those of the baseline, (K, K): true class, predicted class.
        classes: K names.
        names: of the baseline and the other run.
        dpi: resolution.
    """
    size = len(classes)
    cell = min(0.38, _SIDE / size)
    font = 8 if size <= _NUMBERS else min(7.0, cell * 62)
    room = min(1.3, widest(paper(1, 1, dpi), [drawable(name)[:40] for name in classes[:_NAMES]]) + 0.5)
    width = max(room + size * cell + 0.3, 3.6)  # the title needs it
    figure = paper(width, 0.85 + size * cell + room, dpi)
    axes = axes_on(figure, left=room, top=0.85, right=width - room - size * cell, bottom=room)
    gain = np.where(np.eye(size, dtype=bool), difference, -difference)
    most = max(int(np.abs(gain).max()), 1)
    # A change of one image is to be seen beside one of a hundred.
    shades = np.sign(gain) * np.sqrt(np.abs(gain) / most)
    axes.imshow(shades, cmap=_CHANGE, vmin=-1, vmax=1, aspect="auto")
    if size <= _NUMBERS:
        for (row, column), count in np.ndenumerate(difference):
            if count:
                colour = "white" if abs(shades[row, column]) > 0.8 else "black"
                axes.text(column, row, f"{count:+d}", ha="center", va="center", fontsize=8, color=colour)
    if size <= _NAMES:
        labels = [fitted_on(figure, name, (room - 0.35) * dpi, font) for name in classes]
        axes.set_xticks(range(size), labels, rotation=90, fontsize=font, parse_math=False)
        axes.set_yticks(range(size), labels, fontsize=font, parse_math=False)
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=FAINT, linewidth=0.6 if size <= _NUMBERS else 0.2)
        axes.tick_params(which="both", length=0)
    axes.set_xlabel("predicted class", fontsize=8)
    axes.set_ylabel("true class", fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)
    title = f"Confusion matrix: {names[1]} minus {names[0]}"
    headline(figure, axes, title, below="Images. Blue is better, orange is worse.")
    save(figure, path)


def _lines(figure: Figure, axes: Axes, names: Sequence[str]) -> None:
    """Names down the left side."""
    labels = [fitted_on(figure, name, 1.2 * figure.dpi, 9) for name in names]
    axes.set_yticks(range(len(names)), labels, parse_math=False, fontsize=9)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
