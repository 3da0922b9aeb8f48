"""Where images come from. A source is a class that keeps the protocol below; a file of ``conf/data/`` names it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

__all__ = ["SPLITS", "SPLIT_NAMES", "Listing", "Raw", "Refused", "Sample", "Source"]

SPLITS = ("train", "validation", "test")
# What people call them, in lower case, and what they are here.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}

# An image before it is decoded: the path of its file (text travels to other processes cheaply), its content, or an
# array (H, W) or (H, W, C) of any number type.
Raw = str | bytes | npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a source, before it is read.

    Attributes:
        path: where the image lies, as the source says it; unique within the source. Bytes of a file name that are no
            UTF-8 stand in it as Python's surrogate escapes, see :func:`shown`.
        label: index of its class.
        split: where the source itself puts it (one of SPLITS), or None where it does not say.
        group: images of one group (a patient, a camera, a student) belong together; None for no group.
    """

    path: str
    label: int
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why an image is left out.

    Attributes:
        reason: one of a few words, by which such images are counted: truncated, empty, HTML, wrong format, too large,
            too small, not readable, broken.
        detail: what was found.
    """

    reason: str
    detail: str


@dataclass(frozen=True)
class Listing:
    """What a source has, before any image is decoded.

    Attributes:
        classes: names, each once; a label is an index into them.
        samples: N images, always in the same order.
        ignored: what was passed over because it is no image, by kind ("hidden", ".txt") -> count.
        refused: path -> why an image that the source names cannot even be tried.
        remarks: sentences on the source that a person should read.
    """

    classes: Sequence[str]
    samples: Sequence[Sample]
    ignored: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, Refused] = field(default_factory=dict)
    remarks: Sequence[str] = ()


class Source(Protocol):
    """Images with classes."""

    def files(self) -> Iterator[Path]:
        """The files that the images come from, in any order: a change in one of them is a change of the data.

        Costs no more than a walk through the folders.
        """
        ...

    def listing(self) -> Listing:
        """What there is, without decoding an image.

        Raises:
            DataError: the source is missing, broken or contradicts itself.
        """
        ...

    def raw(self) -> Iterator[Raw]:
        """The images of the samples of :meth:`listing`, in their order, one at a time.

        Memory does not grow with their number.
        """
        ...
