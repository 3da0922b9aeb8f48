"""A picture of originals beside their augmented variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from imagewright.names import fitted
from imagewright.paper import ORANGE

__all__ = ["draw_preview"]

Images = npt.NDArray[np.uint8]


@rc_context({"text.parse_math": False})  # a $ in a name is a $
def draw_preview(path: Path, originals: Images, variants: Sequence[Images], names: Sequence[str]) -> None:
    """One row for each image: the original, then its variants.

    Args:
        path: of the PNG file.
        originals: uint8, (B, H, W, C), C 1 or 3.
        variants: as many arrays of the same shape as there are columns.
        names: class of each image.
    """
    columns = [originals, *variants]
    _, height, width, _ = originals.shape
    # One picture of all: a subplot for each image would take seconds to lay out.
    gap = max(1, height // 8)
    sheet = np.full(
        (len(originals) * (height + gap), len(columns) * (width + gap), originals.shape[-1]), 255, dtype=np.uint8
    )
    for column, images in enumerate(columns):
        for row, pixels in enumerate(images):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width] = pixels
    figure = Figure(
        figsize=(1.1 * len(columns) + 1.4, 1.1 * len(originals) * height / width + 0.6), layout="constrained"
    )
    axes = figure.subplots()
    axes.imshow(
        sheet[..., 0] if sheet.shape[-1] == 1 else sheet, cmap="gray", vmin=0, vmax=255, interpolation="nearest"
    )
    axes.xaxis.tick_top()
    titles = ["original", *(f"variant {number}" for number in range(1, len(columns)))]
    axes.set_xticks([column * (width + gap) + (width - 1) / 2 for column in range(len(columns))], titles)
    labels = [fitted(name, 16, len) for name in names]
    axes.set_yticks([row * (height + gap) + (height - 1) / 2 for row in range(len(originals))], labels)
    axes.tick_params(length=0)
    axes.get_xticklabels()[0].set_color(ORANGE)
    for spine in axes.spines.values():
        spine.set_visible(False)
    # A frame around the originals.
    axes.add_patch(Rectangle((-0.5, -0.5), width, sheet.shape[0] - gap, fill=False, edgecolor=ORANGE, linewidth=2.5))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
