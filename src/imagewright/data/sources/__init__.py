"""Where images come from. A source is a class that keeps the protocol below; a file of ``conf/data/`` names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["Pixels", "Sample", "Source"]

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """One image of a source, before it is read.

    Attributes:
        path: where the image lies, as the source says it; unique within the source.
        label: index of its class.
    """

    path: str
    label: int


class Source(Protocol):
    """Images with classes. Listing them is cheap; pixels are read one image at a time.

    Attributes:
        classes: names of the classes; a label is an index into them.
    """

    classes: Sequence[str]

    def samples(self) -> Sequence[Sample]:
        """All images, always in the same order."""
        ...

    def read(self, sample: Sample) -> Pixels:
        """Pixels of one image, uint8, (H, W, C) of the configured size."""
        ...
