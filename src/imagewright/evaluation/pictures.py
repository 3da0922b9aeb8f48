"""Pictures of a training and of its test scores, as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from imagewright.names import fitted

__all__ = ["draw_class_scores", "draw_confusion_matrix", "draw_curves"]

# Training is grey and validation blue in every picture; orange marks what is to be noticed.
_NAMES_AS_THEY_ARE = rc_context({"text.parse_math": False})  # a $ in a name is a $
_GREY, _BLUE, _ORANGE = "#8c8c8c", "#1f5fa8", "#d95f02"
_BLUES = LinearSegmentedColormap.from_list("hits", ["#ffffff", "#c6dbef", "#6baed6", _BLUE, "#08306b"])
_ORANGES = LinearSegmentedColormap.from_list("errors", ["#ffffff", "#fdd0a2", "#fd8d3c", _ORANGE, "#8c2d04"])


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
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    epochs = list(history)
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour in (("train", _GREY), ("validation", _BLUE)):
            values = [row[f"{split}/{name}"] for row in history.values()]
            axes.plot(epochs, values, color=colour, linewidth=2, label=split, marker="o" if len(epochs) == 1 else None)
        kept = history[best_epoch][f"validation/{name}"]
        shown = f"{kept:.2%}" if name == "accuracy" else f"{kept:.4f}"
        axes.plot([best_epoch], [kept], "o", color=_ORANGE, markersize=8, zorder=3)
        axes.axvline(best_epoch, color=_ORANGE, linewidth=1, label=f"best epoch {best_epoch} by {monitor}: {shown}")
        if stopped_early:
            axes.axvline(epochs[-1], color="black", linewidth=1, linestyle="--", label=f"stopped early at {epochs[-1]}")
        if name == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.set_title(f"{name.capitalize()} by epoch", loc="left", fontweight="bold")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.legend(loc="best", frameon=True, framealpha=0.9, edgecolor="none")
        _bare(axes)
    figure.savefig(path, dpi=dpi)


@_NAMES_AS_THEY_ARE
def draw_confusion_matrix(
    path: Path, matrix: Sequence[Sequence[int]], classes: Sequence[str], accuracy: float, dpi: int
) -> None:
    """Counts and, as number and colour, the shares of each true class: hits in blue, errors in orange.

    Args:
        path: of the PNG file.
        matrix: K rows (true class) of K counts (predicted class).
        classes: K names.
        accuracy: of all images, for the title.
        dpi: resolution.
    """
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = len(classes)
    side = min(max(5.0, 0.62 * size + 1.5), 24.0)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    hits = np.eye(size, dtype=bool)
    # Errors have a colour and a scale of their own: beside the hits, a share of a few percent would not be seen.
    most = max(float(np.where(hits, 0, shares).max()), 1e-9)
    axes.imshow(np.where(hits, shares, np.nan), cmap=_BLUES, vmin=0, vmax=1)
    axes.imshow(np.where(hits, np.nan, shares), cmap=_ORANGES, vmin=0, vmax=2 * most)
    # From about 30 classes on, numbers in the cells could not be read.
    if size <= 30:
        for (row, column), count in np.ndenumerate(counts):
            if count:
                share = shares[row, column]
                words = f"{count}\n{share:.0%}" if size <= 15 else str(count)
                colour = "white" if row == column and share > 0.5 else "black"
                axes.text(column, row, words, ha="center", va="center", color=colour, fontsize=8)
    labels = [fitted(name, 20, len) for name in classes]
    font = 10 if size <= 30 else max(4, 10 - size // 20)
    axes.set_xticks(range(size), labels, rotation=0 if max(map(len, labels)) <= 3 else 90, fontsize=font)
    axes.set_yticks(range(size), labels, fontsize=font)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e5e5e5", linewidth=0.8)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title(
        f"{np.trace(counts)} of {counts.sum()} test images right ({accuracy:.2%}); shares of each true class",
        loc="left",
        fontweight="bold",
    )
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.savefig(path, dpi=dpi)


@_NAMES_AS_THEY_ARE
def draw_class_scores(path: Path, by_class: Mapping[str, Mapping[str, float]], dpi: int) -> None:
    """F1 of each class, the lowest first, between its precision and its recall.

    Args:
        path: of the PNG file.
        by_class: name -> precision, recall, f1, support.
        dpi: resolution.
    """
    ordered = sorted(by_class.items(), key=lambda item: item[1]["f1"])
    rows = np.arange(len(ordered))
    figure = Figure(figsize=(8, min(max(2.5, 0.36 * len(ordered) + 1.4), 30)), layout="constrained")
    axes = figure.subplots()
    scores = {name: [row[name] for _, row in ordered] for name in ("precision", "recall", "f1")}
    axes.hlines(rows, scores["precision"], scores["recall"], color="#c6dbef", linewidth=5, zorder=1)
    for name, mark, colour in (("precision", "<", _GREY), ("recall", ">", _ORANGE)):
        axes.plot(scores[name], rows, mark, color=colour, markersize=7, label=name)
    axes.plot(scores["f1"], rows, "o", color=_BLUE, markersize=8, label="F1")
    axes.set_yticks(rows, [f"{fitted(name, 40, len)} ({row['support']:.0f} images)" for name, row in ordered])
    axes.invert_yaxis()
    lowest = min(min(values) for values in scores.values())
    left = 0 if lowest < 0.6 else lowest - 0.05
    axes.set_xlim(left, 1 + (1 - left) * 0.02)
    axes.set_xlabel("score" if left == 0 else f"score (the axis begins at {left:.2f})")
    axes.grid(axis="x", color="#e5e5e5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_title("Test scores by class, the lowest F1 first", loc="left", fontweight="bold")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    _bare(axes)
    figure.savefig(path, dpi=dpi)


def _bare(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
