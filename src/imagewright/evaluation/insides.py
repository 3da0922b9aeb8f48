"""What happens inside a network, as PNG files: first kernels, feature maps, where it looks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.colors import to_rgb

from imagewright.paper import (
    BLUE,
    FAINT,
    MUTED,
    ORANGE,
    SIGNED,
    WARM,
    WIDTH,
    Images,
    Pasted,
    coloured,
    heading,
    paper,
    paragraph,
    save,
    thumbnails,
    write,
    write_fitted,
)

__all__ = ["draw_feature_maps", "draw_grad_cam", "draw_kernels"]

Floats = npt.NDArray[np.floating]
# Name, shape and values (channels, h, w) of feature maps.
Maps = tuple[str, tuple[int, ...], Floats]

_TIMES = "\N{MULTIPLICATION SIGN}"

_KERNELS, _MAPS, _STEPS = 64, 8, 24
# The share of the heat's colour where it is hottest.
_OPAQUE = 0.7


def draw_kernels(path: Path, kernels: Floats, *, dpi: int) -> None:
    """Weights of the first layer: those of three channels as colours around grey, others orange below 0, blue above.

    Args:
        path: of the PNG file.
        kernels: (filters, h, w, C), C 1 or 3.
        dpi: resolution.
    """
    filters, height, width, channels = kernels.shape
    # By the length of the vector: what is weak does little.
    order = np.argsort(-np.sqrt(np.square(kernels).sum(axis=(1, 2, 3))), kind="stable")[:_KERNELS]
    largest = max(float(np.abs(kernels).max()), 1e-9)
    scaled = kernels[order] / largest / 2 + 0.5
    pixels = np.round(scaled * 255).astype(np.uint8) if channels == 3 else coloured(scaled[..., 0], SIGNED)
    pictures = _framed(thumbnails(pixels, round(0.5 * dpi), fit=True))
    words = f"{len(order)} of {filters}" if len(order) < filters else f"All {filters}"
    words += f", of {height}{_TIMES}{width} pixels, the strongest first, in one scale: "
    words += (
        f"grey is 0, a full colour ±{largest:.2g}; each channel is a colour."
        if channels == 3
        else f"white is 0, orange down to -{largest:.2g}, blue up to {largest:.2g}."
    )
    left, gap, top = round(0.15 * dpi), round(0.09 * dpi), round(0.95 * dpi)
    across = pictures.shape[2] + gap
    columns = max(1, (round(WIDTH * dpi) - 2 * left + gap) // across)
    down = pictures.shape[1] + gap
    lines = -(-len(pictures) // columns)
    figure = paper(max(WIDTH, (across + 2 * left) / dpi), (top + lines * down) / dpi + 0.1, dpi)
    heading(figure, "First-layer kernels", words)
    save(
        figure,
        path,
        [(one, left + at % columns * across, top + at // columns * down) for at, one in enumerate(pictures)],
    )


def draw_feature_maps(path: Path, image: Images, maps: Sequence[Maps], *, words: str = "", dpi: int) -> None:
    """An image, then a row of maps for each step: the same channels in the steps of a block, as far as it keeps them.

    Args:
        path: of the PNG file.
        image: uint8, (H, W, C), C 1 or 3.
        maps: name, shape and values of each step, in order.
        words: what the image is.
        dpi: resolution.
    """
    left_out = len(maps) - _STEPS
    maps = maps if left_out <= 0 else [*maps[: _STEPS // 2], *maps[-_STEPS // 2 :]]
    left, gap, top = round(0.15 * dpi), round(0.07 * dpi), round(0.95 * dpi)
    side = (round(WIDTH * dpi) - 2 * left + gap) // _MAPS - gap
    original = thumbnails(image[None], 2 * side, fit=True)[0]
    channels = [*_chosen(maps)]
    pictures = [(_pictures(maps[at][2][chosen], side), chosen) for at, chosen in enumerate(channels)]
    head, foot, rest = round(0.22 * dpi), round(0.16 * dpi), round(0.12 * dpi)
    heights = [head + rows.shape[1] + foot + rest for rows, _ in pictures]
    figure = paper(WIDTH, (top + len(original) + rest + sum(heights)) / dpi, dpi)
    heading(
        figure,
        "Feature maps",
        f"Up to {_MAPS} maps of each step, those that vary most; white is 0, blue above, orange below."
        + (f" {left_out} steps in the middle are left out." if left_out > 0 else ""),
    )
    pasted: list[Pasted] = [(original, left, top)]
    said = paragraph(figure, words, WIDTH * dpi - 3 * left - original.shape[1], 9)
    write(figure, 2 * left + original.shape[1], top, said)
    y = top + len(original) + rest
    for (name, shape, values), (rows, chosen), height in zip(maps, pictures, heights, strict=True):
        title = f"{name}, {shape[0]} maps of {shape[1]}{_TIMES}{shape[2]}"
        write(figure, left, y, title, weight="bold")
        write(figure, WIDTH * dpi - left, y, f"±{np.abs(values[chosen]).max():.3g}", color=MUTED, ha="right")
        for at, (one, channel) in enumerate(zip(rows, chosen, strict=True)):
            x = left + at * (side + gap)
            pasted.append((one, x, y + head))
            write(figure, x, y + head + len(one) + 0.02 * dpi, str(channel + 1), size=6.5, color=MUTED)
        y += height
    save(figure, path, pasted)


def _chosen(maps: Sequence[Maps]) -> Iterator[npt.NDArray[np.int64]]:
    """Channels of each step: in a block, the ones that vary most in the first step with so many channels."""
    known: dict[tuple[str, int], npt.NDArray[np.int64]] = {}
    block = ""
    for name, shape, values in maps:
        # What belongs to no block goes on with the last one.
        block = re.split("[,:]", name)[0] if ":" in name else block
        if (block, shape[0]) not in known:
            order = np.argsort(-values.reshape(len(values), -1).std(axis=1), kind="stable")
            known[block, shape[0]] = np.sort(order[:_MAPS])
        yield known[block, shape[0]]


def _pictures(values: Floats, side: int) -> Images:
    colours = coloured(values / max(float(np.abs(values).max()), 1e-9) / 2 + 0.5, SIGNED)
    return _framed(thumbnails(colours, side - 2, fit=True))


def _framed(pictures: Images) -> Images:
    """With a thin line around each: white ones would not be seen on white paper."""
    faint = round(255 * to_rgb(FAINT)[0])
    return np.pad(pictures, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=faint)


def draw_grad_cam(
    path: Path,
    images: Images,
    heat: Floats,
    labels: Sequence[int],
    predictions: Sequence[int],
    classes: Sequence[str],
    *,
    confidences: Sequence[float] | None = None,
    dpi: int,
) -> None:
    """Images beside themselves with the heat over them, hits first, then mistakes.

    Args:
        path: of the PNG file.
        images: uint8, (B, H, W, C), C 1 or 3.
        heat: from 0 to 1, (B, H, W), for the predicted class.
        labels: B classes.
        predictions: B classes.
        classes: K names.
        confidences: probabilities of the predictions.
        dpi: resolution.
    """
    left, gap, top = round(0.15 * dpi), round(0.05 * dpi), round(0.95 * dpi)
    cold, warm = (thumbnails(some, round(1.05 * dpi), fit=True) for some in (images, _overlaid(images, heat)))
    height, width = cold.shape[1:3]
    pitch, head = round((WIDTH - 0.3) / 2 * dpi) + gap, round(0.3 * dpi)
    step = height + round(0.42 * dpi)
    right = np.asarray(labels) == np.asarray(predictions)
    groups = {"Hits": np.flatnonzero(right).tolist(), "Mistakes": np.flatnonzero(~right).tolist()}
    lines = sum(-(-len(rows) // 2) for rows in groups.values())
    figure = paper(WIDTH, (top + 2 * head + lines * step) / dpi + 0.1, dpi)
    heading(
        figure,
        "What the network looked at",
        "Grad-CAM: red spoke most for the class that was predicted; in orange what a mistake was taken for."
        + (" Without colour: no place did." if len(heat) and not heat.max((1, 2)).all() else ""),
    )
    pasted: list[Pasted] = []
    y = top
    for title, rows in groups.items():
        write(figure, left, y, title if rows else f"{title}: none", weight="bold", size=10)
        y += head
        for at, row in enumerate(rows):
            x, below = left + at % 2 * pitch, y + at // 2 * step
            pasted += [(cold[row], x, below), (warm[row], x + width + gap, below)]
            rest = "" if confidences is None else f" {confidences[row]:.1%}"
            own, taken = classes[labels[row]], f"→ {classes[predictions[row]]}"
            captions = [(own, rest, BLUE)] if right[row] else [(own, "", "black"), (taken, rest, ORANGE)]
            for number, (name, behind, colour) in enumerate(captions):
                lower = below + height + (0.03 + 0.14 * number) * dpi
                write_fitted(figure, x, lower, name, pitch - 0.15 * dpi, rest=behind, size=7.5, color=colour)
        y += -(-len(rows) // 2) * step
    save(figure, path, pasted)


def _overlaid(images: Images, heat: Floats) -> Images:
    """Images in grey under the heat, uint8 (B, H, W, 3)."""
    grey = images.mean(axis=3, keepdims=True)
    opaque = _OPAQUE * heat[..., None]
    overlaid: Images = np.round(grey * (1 - opaque) + coloured(heat, WARM) * opaque).astype(np.uint8)
    return overlaid
