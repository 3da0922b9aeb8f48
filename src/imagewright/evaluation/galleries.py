"""Galleries of images, as PNG files: mistakes, hits that nearly were mistakes, a batch as the network sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagewright.paper import (
    BLUE,
    GREY,
    ORANGE,
    WIDTH,
    Images,
    Pasted,
    heading,
    only_words,
    paper,
    save,
    thumbnails,
    write_fitted,
)

__all__ = ["confident_mistakes", "draw_batch", "draw_least_sure", "draw_mistakes", "unsure_hits"]

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]

_FONT = 7.5


@dataclass(frozen=True)
class _Line:
    """A line under an image.

    Attributes:
        name: of a class or file; cut to the room that there is.
        rest: stands behind it, always whole.
        colour: of both.
        end: whether the end of the name is kept and not the beginning.
    """

    name: str
    rest: str = ""
    colour: str = "black"
    end: bool = False


def confident_mistakes(probabilities: Floats, labels: Labels, most: int) -> list[int]:
    """Rows of the images with a wrong prediction, the most confident first.

    Args:
        probabilities: (N, K).
        labels: (N,).
        most: rows.
    """
    return _ranked(-probabilities.max(1), probabilities.argmax(1) != labels)[:most]


def unsure_hits(probabilities: Floats, labels: Labels, most: int) -> list[int]:
    """Rows of the images with a right prediction, the least confident first.

    Args:
        probabilities: (N, K).
        labels: (N,).
        most: rows.
    """
    return _ranked(probabilities.max(1), probabilities.argmax(1) == labels)[:most]


def _ranked(keys: Floats, among: npt.NDArray[np.bool_]) -> list[int]:
    rows = np.flatnonzero(among)
    ranked: list[int] = rows[np.argsort(keys[rows], kind="stable")].tolist()
    return ranked


def draw_mistakes(
    path: Path,
    images: Images,
    labels: Labels,
    probabilities: Floats,
    classes: Sequence[str],
    *,
    paths: Sequence[str] | None = None,
    most: int,
    dpi: int,
) -> None:
    """The mistakes of which the network is surest, with true and predicted class and their probabilities.

    Args:
        path: of the PNG file.
        images: uint8, (N, H, W, C), C 1 or 3; of those that are drawn the pixels are read.
        labels: (N,).
        probabilities: (N, K); the predicted class is that of the largest.
        classes: K names.
        paths: of the files of the N images.
        most: images that are drawn.
        dpi: resolution.
    """
    rows = confident_mistakes(probabilities, labels, most)
    total = int((probabilities.argmax(1) != labels).sum())
    if not rows:
        only_words(path, "Mistakes", f"None: the network is right on all {_images(len(labels))}.", dpi)
        return
    captions = []
    for row in rows:
        own, taken = int(labels[row]), int(probabilities[row].argmax())
        captions.append(
            [
                _Line(classes[own], f" {probabilities[row, own]:.1%}"),
                _Line(f"→ {classes[taken]}", f" {probabilities[row, taken]:.1%}", ORANGE),
                *_file(paths, row),
            ]
        )
    title = f"The most confident of {total:,} mistakes"
    title = title if total > len(rows) else "All mistakes, the most confident first"
    words = "Below: the true class; in orange what it was taken for; the probabilities that the network gives them."
    _draw(path, title, words, images[rows], captions, dpi)


def draw_least_sure(
    path: Path,
    images: Images,
    labels: Labels,
    probabilities: Floats,
    classes: Sequence[str],
    *,
    paths: Sequence[str] | None = None,
    most: int,
    dpi: int,
) -> None:
    """The hits of which the network is least sure, with the class that came second.

    Args:
        path: of the PNG file.
        images: uint8, (N, H, W, C), C 1 or 3; of those that are drawn the pixels are read.
        labels: (N,).
        probabilities: (N, K), K at least 2; the predicted class is that of the largest.
        classes: K names.
        paths: of the files of the N images.
        most: images that are drawn.
        dpi: resolution.
    """
    rows = unsure_hits(probabilities, labels, most)
    total = int((probabilities.argmax(1) == labels).sum())
    if not rows:
        only_words(path, "Hits", f"None: the network is wrong on all {_images(len(labels))}.", dpi)
        return
    captions = []
    for row in rows:
        own = int(labels[row])
        others = probabilities[row].copy()
        others[own] = -1
        second = int(others.argmax())
        captions.append(
            [
                _Line(classes[own], f" {probabilities[row, own]:.1%}", BLUE),
                _Line(f"or {classes[second]}", f" {probabilities[row, second]:.1%}"),
                *_file(paths, row),
            ]
        )
    title = f"The least sure of {total:,} hits" if total > len(rows) else "All hits, the least sure first"
    words = "Below: the true class, predicted rightly; what came second; the probabilities that the network gives them."
    _draw(path, title, words, images[rows], captions, dpi)


def draw_batch(
    path: Path,
    images: Images,
    labels: Sequence[int],
    shift: Sequence[float],
    scale: Sequence[float],
    classes: Sequence[str],
    *,
    most: int,
    dpi: int,
) -> None:
    """Images of a training batch after input normalization, in one range of grey levels for all channels.

    Args:
        path: of the PNG file.
        images: uint8, (B, H, W, C), as training gets them.
        labels: B classes.
        shift: of the input normalization, C numbers in pixel values.
        scale: of the input normalization, C numbers in pixel values.
        classes: K names.
        most: images that are drawn.
        dpi: resolution.
    """
    values = (images[:most] - np.asarray(shift)) / np.asarray(scale)
    low, high = float(values.min()), float(values.max())
    pixels = np.round((values - low) / max(high - low, 1e-9) * 255).astype(np.uint8)
    captions = [[_Line(classes[label])] for label in labels[:most]]
    part = f"{len(values)} of {_images(len(images))}" if len(values) < len(images) else _images(len(images))
    words = (
        f"{part}, augmented and normalized: black stands for {low:z.2f}, white for {high:z.2f}; "
        f"mean {values.mean():z.2f}, standard deviation {values.std():.2f}."
    )
    _draw(path, "A training batch as the network sees it", words, pixels, captions, dpi, inches=0.7)


def _draw(
    path: Path,
    title: str,
    words: str,
    images: Images,
    captions: Sequence[Sequence[_Line]],
    dpi: int,
    *,
    inches: float = 1.0,
) -> None:
    """A title and words, then images of about so many inches with lines below each."""
    pictures = thumbnails(images, round(inches * dpi))
    height, width = pictures.shape[1:3]
    left, gap = round(0.15 * dpi), round(0.09 * dpi)
    room = round(WIDTH * dpi) - 2 * left
    columns = max(1, (room + gap) // (max(width, round(inches * dpi)) + gap))
    pitch = max((room + gap) // columns, width + gap)
    line = round(_FONT / 72 * 1.25 * dpi)
    step = height + len(captions[0]) * line + round(0.2 * dpi)
    top = round(0.95 * dpi)
    figure = paper(max(room, width) / dpi + 0.3, (top - (-len(images) // columns) * step) / dpi, dpi)
    heading(figure, title, words)
    pasted: list[Pasted] = []
    for at, (pixels, lines) in enumerate(zip(pictures, captions, strict=True)):
        x, y = left + at % columns * pitch, top + at // columns * step
        pasted.append((pixels, x, y))
        for number, caption in enumerate(lines):
            write_fitted(
                figure,
                x,
                y + height + 0.04 * dpi + number * line,
                caption.name,
                pitch - gap,
                rest=caption.rest,
                size=_FONT,
                color=caption.colour,
                end=caption.end,
            )
    save(figure, path, pasted)


def _file(paths: Sequence[str] | None, row: int) -> list[_Line]:
    return [] if paths is None else [_Line(paths[row], colour=GREY, end=True)]


def _images(number: int) -> str:
    return f"{number:,} image" if number == 1 else f"{number:,} images"
