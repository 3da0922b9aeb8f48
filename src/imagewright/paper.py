"""Paper to draw on: figures with fixed places, text, and images pasted into the drawn pixels.

Whoever draws says where things stand: matplotlib's own layouts cost more time than all the drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import IdentityTransform

from imagewright.names import fitted

__all__ = [
    "BLUE",
    "BLUES",
    "COLOURS",
    "FAINT",
    "GREY",
    "MANY",
    "MUTED",
    "ORANGE",
    "ORANGES",
    "SIGNED",
    "TEAL",
    "WARM",
    "WIDTH",
    "Images",
    "Pasted",
    "axes_on",
    "bars",
    "coloured",
    "count_axis",
    "fitted_on",
    "heading",
    "headline",
    "only_words",
    "paper",
    "paragraph",
    "save",
    "thumbnails",
    "whole_ticks",
    "widest",
    "write",
    "write_fitted",
]

Images = npt.NDArray[np.uint8]
# Pixels (H, W, 3) and their place on a picture: left and top, in pixels.
Pasted = tuple[Images, int, int]

# Training is grey and validation blue in every picture of the project; orange marks what is to be noticed.
GREY, BLUE, TEAL, ORANGE = "#8c8c8c", "#1f5fa8", "#66c2a5", "#d95f02"
COLOURS = (GREY, BLUE, TEAL)
FAINT, MUTED = "#e5e5e5", "#555555"
# Of lines that are many: each a class.
MANY = (BLUE, ORANGE, "#1b9e77", "#e7298a", "#7b3294", "#a6761d", "#56b4e9", "#e6ab02", TEAL, MUTED)
# Shades of numbers: from 0, and on both sides of 0, which is white.
BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#c6dbef", "#6baed6", BLUE, "#08306b"])
ORANGES = LinearSegmentedColormap.from_list("oranges", ["#ffffff", "#fdd0a2", "#fd8d3c", ORANGE, "#8c2d04"])
SIGNED = LinearSegmentedColormap.from_list(
    "signed",
    ["#8c2d04", ORANGE, "#fdd0a2", "#ffffff", "#c6dbef", BLUE, "#08306b"],
    N=257,  # an odd number has a middle
)
WARM = LinearSegmentedColormap.from_list("warm", ["#fee08b", "#fd8d3c", "#e31a1c", "#800026"])

# Inches: a page has room for it, and its letters can still be read on a phone.
WIDTH = 5.0


def paper(width: float, height: float, dpi: int) -> Figure:
    """A figure of so many inches."""
    figure = Figure(figsize=(width, height), dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def _canvas(figure: Figure) -> FigureCanvasAgg:
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    return canvas


def axes_on(figure: Figure, *, left: float, top: float, right: float, bottom: float) -> Axes:
    """Axes with margins in inches."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    )
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def write(
    figure: Figure,
    left: float,
    top: float,
    words: str,
    *,
    size: float = 9,
    color: str = "black",
    weight: str = "normal",
    ha: str = "left",
    va: str = "top",
    rotation: float = 0,
) -> None:
    """Write at a place in pixels from the upper left corner; a dollar sign is a dollar sign."""
    _, height = figure.canvas.get_width_height()
    figure.text(
        left,
        height - top,
        words,
        fontsize=size,
        color=color,
        fontweight=weight,
        ha=ha,
        va=va,
        rotation=rotation,
        rotation_mode="anchor",
        transform=IdentityTransform(),
        parse_math=False,
    )


def headline(
    figure: Figure,
    axes: Axes,
    title: str,
    *,
    legend: int = 0,
    below: str = "",
    colour: str = MUTED,
    left: float = 0.15,
) -> None:
    """Title at the upper left corner, perhaps a line below it, and the legend on top of the axes.

    Args:
        figure: of the axes.
        axes: with what the legend names.
        title: in bold letters.
        legend: number of its entries; 0 for no legend.
        below: a sentence.
        colour: of the sentence.
        left: inches from the left border.
    """
    write(figure, left * figure.dpi, 0.15 * figure.dpi, title, size=12, weight="bold")
    if below:
        write(figure, left * figure.dpi, 0.45 * figure.dpi, below, color=colour)
    if legend:
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=legend, frameon=False, fontsize=9, borderaxespad=0.3)


def heading(figure: Figure, title: str, words: str) -> None:
    """Title at the upper left corner of a picture without axes, and words below it in as many lines as they take."""
    margin = 0.15 * figure.dpi
    width = figure.canvas.get_width_height()[0]
    write(figure, margin, margin, title, size=12, weight="bold")
    write(figure, margin, 3 * margin, paragraph(figure, words, width - 2 * margin, 9), color=MUTED)


def only_words(path: Path, title: str, words: str, dpi: int) -> None:
    """A picture for what there is no picture of."""
    figure = paper(WIDTH, 1, dpi)
    heading(figure, title, words)
    save(figure, path)


def bars(axes: Axes, names: Sequence[str], counts: Sequence[int]) -> None:
    axes.barh(range(len(names)), counts, height=0.7, color=BLUE)
    for row, count in enumerate(counts):
        axes.text(count, row, f" {count:,}", va="center", fontsize=8)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    count_axis(axes, "images")


def count_axis(axes: Axes, words: str) -> None:
    axes.set_xlabel(words)
    axes.xaxis.set_major_locator(whole_ticks())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="x", color=FAINT, linewidth=0.8)
    axes.set_axisbelow(True)


def whole_ticks() -> MaxNLocator:
    return MaxNLocator(6, integer=True, steps=[1, 2, 5, 10])


def widest(figure: Figure, labels: Sequence[str], size: float = 10) -> float:
    """Inches of the widest label, at a size of the font in points."""
    return max((_wide(figure, label, size) for label in labels), default=0.0) / figure.dpi


def fitted_on(figure: Figure, name: str, width: float, size: float, *, end: bool = False) -> str:
    """A name cut to so many pixels at a size of the font in points."""
    return fitted(name, width, partial(_wide, figure, size=size), end=end)


def write_fitted(
    figure: Figure,
    left: float,
    top: float,
    name: str,
    room: float,
    *,
    rest: str = "",
    size: float,
    color: str = "black",
    end: bool = False,
) -> None:
    """Write a name, cut to so many pixels together with what stands behind it, which is not cut."""
    taken = widest(figure, [rest], size) * figure.dpi if rest else 0.0
    write(figure, left, top, fitted_on(figure, name, room - taken, size, end=end) + rest, size=size, color=color)


def paragraph(figure: Figure, words: str, width: float, size: float) -> str:
    """Words in as many lines as so many pixels of width take, at a size of the font in points; drawable."""
    lines: list[str] = []
    for word in (fitted_on(figure, word, width, size) for word in words.split(" ")):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _wide(figure, longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def coloured(values: npt.NDArray[np.floating], shades: Colormap) -> Images:
    """Numbers from 0 to 1 as colours, uint8 (..., 3)."""
    # As bytes, matplotlib would cut what lies between two of them, and miss the colours by one.
    return np.round(255 * np.asarray(shades(values))[..., :3]).astype(np.uint8)


def _wide(figure: Figure, words: str, size: float) -> float:
    """Pixels of a text at a size of the font in points."""
    renderer = _canvas(figure).get_renderer()  # type: ignore[no-untyped-call]
    return float(renderer.get_text_width_height_descent(words, FontProperties(size=size), ismath=False)[0])


def thumbnails(images: Images, side: int, *, fit: bool = False) -> Images:
    """Images enlarged or shrunk by a whole factor, so that the longer side is near ``side`` pixels.

    Args:
        images: uint8 (B, H, W, C), C 1 or 3.
        side: wanted, in pixels.
        fit: whether it may not be longer; it then is more than half as long, and of a thin strip the beginning.

    Returns:
        uint8 (B, h, w, 3).
    """
    longer = max(images.shape[1:3])
    if longer <= side:
        factor = max(1, side // longer if fit else round(side / longer))
        scaled = images.repeat(factor, axis=1).repeat(factor, axis=2)
    else:
        factor = min(-(-longer // side) if fit else round(longer / side), *images.shape[1:3])
        height, width = (length // factor * factor for length in images.shape[1:3])
        # Sums of strided views are several times as fast as a mean over blocks; 16 bits hold those of 16 by 16 pixels.
        kind = np.uint16 if factor <= 16 else np.uint32
        total = np.zeros((len(images), height // factor, width // factor, images.shape[3]), kind)
        for row in range(factor):
            for column in range(factor):
                total += images[:, row:height:factor, column:width:factor]
        scaled = (total // factor**2).astype(np.uint8)
    scaled = scaled[:, :side, :side] if fit else scaled
    return np.broadcast_to(scaled, (*scaled.shape[:3], 3)) if scaled.shape[3] == 1 else scaled


def save(figure: Figure, path: Path, pasted: Sequence[Pasted] = ()) -> None:
    """Draw a figure and write it.

    Args:
        figure: made by :func:`paper`.
        path: of the PNG file.
        pasted: images to copy into the drawn pixels; as artists they would take as long as all the rest.
    """
    canvas = _canvas(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    drawn = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    for pixels, left, top in pasted:
        place = drawn[top : top + len(pixels), left : left + pixels.shape[1], :3]
        place[:] = pixels[: place.shape[0], : place.shape[1]]
    # The usual compression takes three times as long for a tenth less.
    imsave(path, drawn, format="png", dpi=figure.dpi, pil_kwargs={"compress_level": 2})
