"""Input statistics of the training images, and the normalization that follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagewright.errors import DataError

__all__ = ["Statistics", "measure", "shift_and_scale"]

# Bytes looked at in one step; counting takes eight times as much memory.
_CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True)
class Statistics:
    """For each of the C channels, in pixel values from 0 to 255."""

    mean: list[float]
    std: list[float]
    minimum: list[int]
    maximum: list[int]
    images: int


def measure(images: npt.NDArray[np.uint8]) -> Statistics:
    """Mean, population standard deviation, minimum and maximum of each channel, in exact integer arithmetic.

    Each channel is counted into a histogram of its 256 values, from which all four follow.

    Args:
        images: uint8, (N, H, W, C); may be mapped from disk, it is read in chunks.
    """
    if not len(images):
        raise DataError("train: has no images to measure; add training images")
    channels = images.shape[3]
    counts = np.zeros((channels, 256), dtype=np.int64)
    step = max(1, _CHUNK // max(1, images[0].nbytes))
    for start in range(0, len(images), step):
        chunk = images[start : start + step]
        for channel in range(channels):
            counts[channel] += np.bincount(chunk[..., channel].reshape(-1), minlength=256)
    values = np.arange(256, dtype=np.int64)
    pixels = counts[0].sum()
    total, total_of_squares = counts @ values, counts @ values**2
    mean = total / pixels
    # The numerator is a whole number, so nothing cancels.
    variance = [
        (int(pixels) * int(square) - int(plain) ** 2) / int(pixels) ** 2
        for plain, square in zip(total, total_of_squares, strict=True)
    ]
    return Statistics(
        mean=[float(value) for value in mean],
        std=[float(np.sqrt(value)) for value in variance],
        minimum=[int(np.flatnonzero(row)[0]) for row in counts],
        maximum=[int(np.flatnonzero(row)[-1]) for row in counts],
        images=len(images),
    )


def shift_and_scale(statistics: Statistics, scheme: str) -> tuple[list[float], list[float]]:
    """The numbers of ``(pixel - shift) / scale`` for each channel.

    Args:
        statistics: of the training images.
        scheme: standard (mean 0, standard deviation 1), minmax (from 0 to 1) or none (pixel values as they are).

    Returns:
        shift and scale, each of length C. A channel in which all pixels are equal keeps the scale 1.
    """
    if scheme == "standard":
        shift, scale = statistics.mean, statistics.std
    elif scheme == "minmax":
        shift = [float(value) for value in statistics.minimum]
        scale = [float(high - low) for low, high in zip(statistics.minimum, statistics.maximum, strict=True)]
    else:
        shift, scale = [0.0] * len(statistics.mean), [1.0] * len(statistics.mean)
    return shift, [value if value > 0 else 1.0 for value in scale]
