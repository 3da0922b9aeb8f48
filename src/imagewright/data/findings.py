"""What prepare found in a source: the plain values that the store, the splits and the report share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from imagewright.data.sources import Listing, Refused

__all__ = ["RECORD", "DuplicateGroup", "Findings"]

# What is known of each image once it is decoded.
RECORD = np.dtype(
    [
        ("sha256", "V32"),  # of the stored pixels
        ("hash", np.uint64),  # perceptual hash of the stored pixels
        ("height", np.uint32),  # of the original, in pixels
        ("width", np.uint32),
        ("format", "S8"),  # JPEG, PNG, ...; array for a source of arrays
        ("mode", "S8"),  # Pillow's name of the pixel format: L, RGB, RGBA, P, CMYK, I;16, F, 1, ...
        ("grey", np.bool_),  # without colour
        ("brightness", np.float32),  # mean of the stored pixels, 0 to 255
    ]
)


@dataclass(frozen=True)
class DuplicateGroup:
    """Images that are the same.

    Attributes:
        kind: exact (the stored pixels are equal) or near (they look the same).
        members: rows of the listing, two or more, ascending.
    """

    kind: str
    members: tuple[int, ...]


@dataclass(frozen=True)
class Findings:
    """All that prepare knows of a source at its end.

    Attributes:
        listing: the source's own words; its N samples are the rows of everything below.
        records: N of RECORD; those of refused rows are empty.
        notes: row -> what was noticed and mended ("first of 12 frames").
        refused: row -> why the image could not be used.
        left_out: row -> by which policy a good image was left out ("conflict", "empty class").
        duplicates: groups of images that are the same; a row stands in at most one group of a kind.
        splits: "train", "validation" or "test" for each row, "" for a row that is refused or left out.
        warnings: sentences that a person should read.
        pixels: gives the stored pixels of some rows, uint8 (B, H, W, C).
    """

    listing: Listing
    records: npt.NDArray[np.void]
    notes: Mapping[int, str]
    refused: Mapping[int, Refused]
    left_out: Mapping[int, str]
    duplicates: Sequence[DuplicateGroup]
    splits: npt.NDArray[np.object_]
    warnings: Sequence[str]
    pixels: Callable[[Sequence[int]], npt.NDArray[np.uint8]]
