"""A picture of originals beside their augmented variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

__all__ = ["draw_preview"]

Images = npt.NDArray[np.uint8]


def draw_preview(path: Path, originals: Images, variants: Sequence[Images], names: Sequence[str]) -> None:
    """One row for each image: the original, then its variants.

    Args:
        path: of the PNG file.
        originals: uint8, (B, H, W, C), C 1 or 3.
        variants: as many arrays of the same shape as there are columns.
        names: class of each image.
    """
    rows, columns = len(originals), 1 + len(variants)
    figure = Figure(figsize=(1.1 * columns + 1.0, 1.1 * rows + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for row in range(rows):
        for column, images in enumerate([originals, *variants]):
            axes = grid[row, column]
            pixels = images[row]
            axes.imshow(pixels[..., 0] if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_color("#d95f02" if column == 0 else "#ffffff")
                spine.set_linewidth(2)
        name = names[row] if len(names[row]) <= 16 else f"{names[row][:15]}…"
        grid[row, 0].set_ylabel(name, rotation=0, ha="right", va="center", labelpad=8)
    grid[0, 0].set_title("original", fontsize=10, color="#d95f02")
    for column in range(1, columns):
        grid[0, column].set_title(f"variant {column}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
