"""Charts of a training and of its test scores, as PNG files: curves, scores by class, reliability, ROC."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from matplotlib.transforms import IdentityTransform

from imagewright.metrics.curves import Bin, RocCurve
from imagewright.paper import (
    BLUE,
    FAINT,
    GREY,
    MANY,
    MUTED,
    ORANGE,
    TEAL,
    WIDTH,
    axes_on,
    fitted_on,
    headline,
    only_words,
    paper,
    paragraph,
    save,
    whole_ticks,
    widest,
    write,
)

__all__ = ["draw_class_scores", "draw_curves", "draw_reliability", "draw_roc"]

# Classes of the chart of scores: below them the rest is left out.
_CLASSES = 100
# Classes with a curve in a colour of their own, if there are too many for all to have one.
_WORST = 8
# More curves in grey could not be told from a plane.
_GREY_CURVES = 200
# Sides of the corner of a ROC picture.
_CORNERS = (0.02, 0.05, 0.1, 0.2, 0.4)
# Standard deviations to each side that hold 95 % of a normal distribution.
_Z = NormalDist().inv_cdf(0.975)
_GAP: dict[str, Any] = {"facecolor": "none", "edgecolor": ORANGE, "hatch": "////", "linewidth": 1}


def draw_curves(
    path: Path,
    history: Mapping[int, Mapping[str, float]],
    *,
    monitor: str,
    best_epoch: int,
    stopped_early: bool,
    dpi: int,
) -> None:
    """Loss and accuracy of every epoch, with the best epoch and the end by early stopping marked.

    Args:
        path: of the PNG file.
        history: epoch, counted from 1 -> metrics by name.
        monitor: the metric that chose the best epoch.
        best_epoch: the epoch whose weights were kept.
        stopped_early: whether early stopping ended the training.
        dpi: resolution.
    """
    epochs = list(history)
    words = f"Best epoch {best_epoch} of {epochs[-1]} by {monitor}, in orange"
    words, more = _sentence(f"{words}; stopped early at the broken line." if stopped_early else f"{words}.", dpi)
    height = 5.4 + more
    figure = paper(WIDTH, height, dpi)
    panels = [axes_on(figure, left=0.75, top=top + more, right=0.3, bottom=5.4 - top - 1.85) for top in (0.95, 3.1)]
    for axes, name in zip(panels, ("loss", "accuracy"), strict=True):
        for split, colour in (("train", GREY), ("validation", BLUE)):
            values = [row.get(f"{split}/{name}", math.nan) for row in history.values()]
            axes.plot(epochs, values, color=colour, linewidth=2, label=split, marker="o" if len(epochs) == 1 else None)
        kept = history[best_epoch][f"validation/{name}"]
        axes.plot([best_epoch], [kept], "o", color=ORANGE, markersize=7, zorder=3)
        axes.axvline(best_epoch, color=ORANGE, linewidth=1, zorder=1)
        if stopped_early:
            axes.axvline(epochs[-1], color="black", linewidth=1, linestyle="--", zorder=1)
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        best = f"{kept:.2%}" if name == "accuracy" else f"{kept:.4f}"
        axes.set_title(f"best epoch: {name} {best}", loc="right", fontsize=9, color=ORANGE, pad=4)
        axes.set_ylabel(name, fontsize=9)
        axes.xaxis.set_major_locator(whole_ticks())
        if len(epochs) == 1:
            axes.set_xlim(epochs[0] - 1, epochs[0] + 1)
        _grid(axes, "both")
    panels[0].tick_params(labelbottom=False)
    panels[1].set_xlabel("epoch", fontsize=9)
    headline(figure, panels[0], "Loss and accuracy by epoch", legend=2, below=words)
    save(figure, path)


def draw_class_scores(
    path: Path, by_class: Mapping[str, Mapping[str, Any]], *, macro: float | None = None, dpi: int
) -> None:
    """F1 of each class with its interval, between precision and recall, the lowest first.

    A class is marked in orange if its whole interval lies below the mean of the classes.

    Args:
        path: of the PNG file.
        by_class: name -> precision, recall, f1, support, and perhaps f1_interval.
        macro: mean F1 of the classes, if it is to be shown.
        dpi: resolution.
    """
    # A class without images has no score to be ashamed of.
    ordered = sorted(by_class.items(), key=lambda item: (not item[1]["support"], item[1]["f1"]))
    rows = ordered[:_CLASSES]
    font = 9 if len(rows) <= 30 else 7.5
    height = (0.29 if len(rows) <= 30 else 0.18) * len(rows)
    figure = paper(WIDTH, height + 1.5, dpi)
    labels = [f"{fitted_on(figure, name, 1.15 * dpi, font)} ({row['support']:,})" for name, row in rows]
    axes = axes_on(figure, left=0.3 + widest(figure, labels, font), top=0.95, right=0.3, bottom=0.55)
    scored = {at: row for at, (_, row) in enumerate(rows) if row["support"]}
    behind = [at for at, row in scored.items() if macro is not None and (row.get("f1_interval") or (0, 1))[1] < macro]
    lowest = _draw_scores_on(axes, scored, behind, font)
    if macro is not None:
        axes.axvline(macro, color=MUTED, linewidth=1, linestyle="--", zorder=1, label=f"mean {macro:.3f}")
    _grid(axes, "x")
    axes.set_yticks(range(len(rows)), labels, fontsize=font, parse_math=False)
    for at in behind:
        axes.get_yticklabels()[at].set_color(ORANGE)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    left = 0 if lowest < 0.6 else lowest - 0.05
    axes.set_xlim(left, 1 + (1 - left) * 0.02)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("score" if left == 0 else f"score (the axis begins at {left:.2f})", fontsize=9)
    words = f"{len(rows)} of {len(ordered):,} classes" if len(rows) < len(ordered) else "In brackets test images"
    if any(row.get("f1_interval") for _, row in rows):
        words += "; lines: intervals" + (", orange if wholly below the mean" if macro is not None else "")
    headline(figure, axes, "F1 by class, the lowest first", below=f"{words}.")
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0.1 / WIDTH, 1 - 0.66 / (height + 1.5)),
        bbox_transform=figure.transFigure,
        ncols=4,
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        columnspacing=1.4,
        handletextpad=0.4,
    )
    save(figure, path)


def _draw_scores_on(axes: Axes, scored: Mapping[int, Mapping[str, Any]], behind: Sequence[int], font: float) -> float:
    """Draw the scores of each line, those behind in orange; gives the lowest number."""
    lowest = 1.0
    for at, row in scored.items():
        ends = row.get("f1_interval") or (row["f1"], row["f1"])
        lowest = min(lowest, row["precision"], row["recall"], ends[0])
        colour = ORANGE if at in behind else TEAL
        axes.plot(ends, (at, at), color=colour, linewidth=font / 3, solid_capstyle="butt", zorder=2)
    size = font * 0.7
    for name, mark in (("precision", "<"), ("recall", ">")):
        values = [row[name] for row in scored.values()]
        axes.plot(values, list(scored), mark, color=GREY, markersize=size * 0.8, label=name)
    values = [row["f1"] for row in scored.values()]
    axes.plot(values, list(scored), "o", color=TEAL, markersize=size, label="F1", mec="black")
    axes.plot([scored[at]["f1"] for at in behind], behind, "o", color=ORANGE, markersize=size, mec="black")
    return lowest


def draw_reliability(path: Path, bins: Sequence[Bin], calibration_error: float, *, dpi: int) -> None:
    """Accuracy beside confidence, above a histogram of the confidence.

    Args:
        path: of the PNG file.
        bins: from 0 to 1; at least one has images.
        calibration_error: the expected one.
        dpi: resolution.
    """
    total = sum(row.count for row in bins)
    hits = sum(row.count * row.accuracy for row in bins if row.accuracy is not None) / total
    sure = sum(row.count * row.confidence for row in bins if row.confidence is not None) / total
    words = f"{sure:.2%} sure on average, {hits:.2%} right. Black lines: 95% intervals of the accuracy (Wilson)."
    words, more = _sentence(words, dpi)
    figure = paper(WIDTH, 6.0 + more, dpi)
    above = axes_on(figure, left=0.75, top=1.0 + more, right=0.3, bottom=2.05)
    below = axes_on(figure, left=0.75, top=4.25 + more, right=0.3, bottom=0.55)
    _draw_accuracy_on(above, bins)
    _draw_shares_on(below, bins, total)
    for axes in (above, below):
        axes.set_xlim(0, 1)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=None))
        _grid(axes, "both")
    headline(figure, above, f"Reliability: calibration error {calibration_error:.2%}", legend=2, below=words)
    save(figure, path)


def _draw_accuracy_on(axes: Axes, bins: Sequence[Bin]) -> None:
    for row in bins:
        if row.confidence is None or row.accuracy is None:
            continue
        middle, width = (row.lower + row.upper) / 2, (row.upper - row.lower) * 0.92
        axes.bar(middle, row.accuracy, width, color=TEAL, zorder=1)
        axes.bar(middle, row.confidence - row.accuracy, width, bottom=row.accuracy, zorder=2, **_GAP)
        axes.plot((middle, middle), _wilson(row.accuracy, row.count), color="black", linewidth=1.2, zorder=4)
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle="--", zorder=3)
    # For the legend alone, outside of what is seen.
    axes.add_patch(Rectangle((0, 2), 0, 0, color=TEAL, label="accuracy"))
    axes.add_patch(Rectangle((0, 2), 0, 0, label="from accuracy to confidence", **_GAP))
    axes.set_ylim(0, 1)
    axes.set_ylabel("accuracy", fontsize=9)


def _draw_shares_on(axes: Axes, bins: Sequence[Bin], total: int) -> None:
    for row in bins:
        middle, share = (row.lower + row.upper) / 2, row.count / total
        axes.bar(middle, share, (row.upper - row.lower) * 0.92, color=TEAL)
        # More bins have no room for numbers.
        if row.count and len(bins) <= 20:
            axes.text(middle, share, _short(row.count), ha="center", va="bottom", fontsize=6.5)
    axes.set_ylim(0, max(row.count for row in bins) / total * 1.15)
    axes.set_ylabel("images", fontsize=9)
    axes.set_xlabel("confidence: the probability of the predicted class", fontsize=9)
    axes.yaxis.set_major_locator(MaxNLocator(3))


def draw_roc(
    path: Path,
    curves: Sequence[RocCurve | None],
    areas: Sequence[float | None],
    classes: Sequence[str],
    *,
    dpi: int,
) -> None:
    """ROC curves, one class against the rest; of the upper left corner if all of them run through it.

    Args:
        path: of the PNG file.
        curves: of K classes; None for a class without one.
        areas: under them.
        classes: K names.
        dpi: resolution.
    """
    found = [
        (area, curve, name)
        for area, curve, name in zip(areas, curves, classes, strict=True)
        if area is not None and curve is not None
    ]
    if not found:
        only_words(path, "ROC curves", "None: there are not images of two classes.", dpi)
        return
    # Areas in single precision are as equal as they look.
    found.sort(key=lambda item: round(item[0], 6))
    named = found if len(found) <= len(MANY) else found[:_WORST]
    rest = [curve for _, curve, _ in found[len(named) :]]
    rest = [rest[at] for at in np.linspace(0, len(rest) - 1, min(len(rest), _GREY_CURVES)).astype(int)]
    height = 0.8 + 4.0 + 0.65 + 0.21 * -(-len(named) // 2)
    figure = paper(WIDTH, height, dpi)
    axes = axes_on(figure, left=0.8, top=0.8, right=0.25, bottom=height - 4.8)
    corner = _corner([curve for _, curve, _ in found])
    _draw_roc_on(axes, [curve for _, curve, _ in named], rest, corner)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(5))
        axis.set_major_formatter(PercentFormatter(1, decimals=None))
    axes.set_xlabel("images of other classes that are taken for it", fontsize=9)
    axes.set_ylabel("images of the class that are found", fontsize=9)
    _grid(axes, "both")
    if corner < 1:
        whole = figure.add_axes((0.62, (height - 4.65) / height, 0.3, 1.5 / height))
        _draw_roc_on(whole, [curve for _, curve, _ in named], rest, 1)
        whole.set_xticks([])
        whole.set_yticks([])
        whole.add_patch(Rectangle((0, 1 - corner), corner, corner, fill=False, edgecolor="black"))
        whole.set_title("the whole", fontsize=8, pad=2)
    _name_curves(figure, [(name, area) for area, _, name in named], 5.4 * dpi)
    words = "One class against the rest; at the bottom the areas, the lowest first."
    if rest:
        words = f"One class against the rest; in colour the {len(named)} of {len(found):,} with the lowest areas."
    headline(figure, axes, "ROC curves" + (": the upper left corner" if corner < 1 else ""), below=words)
    save(figure, path)


def _name_curves(figure: Figure, named: Sequence[tuple[str, float]], top: float) -> None:
    """Names and areas in two columns, from a place in pixels on, with a piece of the line before each."""
    dpi, lines = figure.dpi, -(-len(named) // 2)
    height = figure.canvas.get_width_height()[1]
    for at, (name, area) in enumerate(named):
        left, y = (0.2 + at // lines * (WIDTH - 0.3) / 2) * dpi, top + at % lines * 0.21 * dpi
        piece = (left, left + 0.27 * dpi), (height - y, height - y)
        figure.add_artist(Line2D(*piece, transform=IdentityTransform(), **_look(at)))
        words = f"{fitted_on(figure, name, 1.3 * dpi, 9)}  {_below_one(area)}"
        write(figure, left + 0.35 * dpi, y, words, va="center_baseline")


def _draw_roc_on(axes: Axes, named: Sequence[RocCurve], rest: Sequence[RocCurve], corner: float) -> None:
    axes.plot((0, 1), (0, 1), color=MUTED, linewidth=1, linestyle="--")
    points = [np.column_stack((curve.false_positives, curve.true_positives)) for curve in rest]
    axes.add_collection(LineCollection(points, colors=FAINT, linewidths=1, zorder=1))
    # The lowest lies on top.
    for at, curve in reversed([*enumerate(named)]):
        axes.plot(curve.false_positives, curve.true_positives, **_look(at), zorder=2)
    # Lines along the border are not cut in half.
    axes.set_xlim(-0.01 * corner, corner)
    axes.set_ylim(1 - corner, 1 + 0.01 * corner)


def _corner(curves: Sequence[RocCurve]) -> float:
    """Side of the corner in whose inner half each curve has its best point, 1 if there is none."""
    reach = 0.0
    for curve in curves:
        best = int(np.argmax(curve.true_positives - curve.false_positives))
        reach = max(reach, curve.false_positives[best], 1 - curve.true_positives[best])
    return next((side for side in _CORNERS if reach <= side / 2), 1.0)


def _look(at: int) -> dict[str, Any]:
    """Colour and stroke: not everybody can tell ten colours."""
    return {"color": MANY[at], "linewidth": 1.8, "linestyle": "-" if at < len(MANY) // 2 else (0, (4, 1.5))}


def _below_one(area: float) -> str:
    """What is not quite 1 does not look so."""
    return "> 0.9999" if 0.99995 <= area < 1 - 1e-6 else f"{area:.4f}"


def _sentence(words: str, dpi: int) -> tuple[str, float]:
    """Words in lines, and the inches that the lines after the first take."""
    lines = paragraph(paper(WIDTH, 1, dpi), words, (WIDTH - 0.3) * dpi, 9)
    return lines, 0.17 * lines.count("\n")


def _grid(axes: Axes, axis: Literal["x", "y", "both"]) -> None:
    axes.grid(axis=axis, color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """Ends of the interval of a share (Wilson 1927)."""
    z = _Z * _Z / count
    middle, reach = share + z / 2, _Z * math.sqrt(share * (1 - share) / count + z / count / 4)
    return (middle - reach) / (1 + z), (middle + reach) / (1 + z)


def _short(count: int) -> str:
    return f"{count:,}" if count < 10_000 else f"{count / 1000:,.0f}k"
