"""Predictions of images that are no part of the prepared data: read as prepare reads them, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from imagewright.data.decoding import Form
from imagewright.data.reading import Portion, Staging, read_images
from imagewright.data.sources import Raw, Refused

__all__ = ["Model", "Probabilities", "predict_images"]

# float32, (K,)
Probabilities = npt.NDArray[np.float32]

# Bytes of pixels that lie on the disk at once. Starting to read anew costs half a second, which is little beside the
# time that so many images take.
_ROOM = 2**30


class Model(Protocol):
    """What predicts: a checkpoint or an ONNX file, once it is loaded."""

    @property
    def classes(self) -> list[str]:
        """K names."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What brings an image to that shape."""

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (B, K) of images (B, H, W, C)."""


def predict_images(
    model: Model, raws: Sequence[Raw], batch_size: int, on_read: Callable[[int], Any] = lambda _: None
) -> Generator[Probabilities | Refused, None, None]:
    """Read images, and predict while others are still read.

    Args:
        model: that predicts.
        raws: N images.
        batch_size: images at once; the result does not depend on how they are read.
        on_read: is called with the number of images that were read since its last call.

    Yields:
        For each image, in their order, its probabilities or why it cannot be used.

    Raises:
        DataError: the disk is full, or a decoder crashed.
    """
    form = Form.of(model.input_shape, model.preprocessing)
    shape = form.height, form.width, form.channels
    at_once = max(1, _ROOM // int(np.prod(shape)))
    with tempfile.TemporaryDirectory(prefix="imagewright-") as folder:
        for first in range(0, len(raws), at_once):
            part = raws[first : first + at_once]
            with Staging(Path(folder) / "staging.bin", (len(part), *shape), create=True) as staging:
                rows = _in_order(read_images(part, staging, form), on_read)
                while batch := list(islice(rows, batch_size)):
                    yield from _predicted(model, staging, batch)


def _in_order(portions: Iterable[Portion], on_read: Callable[[int], Any]) -> Iterator[tuple[int, Refused | None]]:
    """Row of each image as soon as it and all before it were read, with why it cannot be used."""
    known: dict[int, Refused | None] = {}
    row = 0
    for portion in portions:
        count = len(portion.records)
        known |= {read: portion.refused.get(read) for read in range(portion.first, portion.first + count)}
        on_read(count)
        while row in known:
            yield row, known.pop(row)
            row += 1


def _predicted(
    model: Model, staging: Staging, batch: Sequence[tuple[int, Refused | None]]
) -> Iterator[Probabilities | Refused]:
    usable = [row for row, refused in batch if refused is None]
    shares = iter(model.probabilities(staging.rows(usable)) if usable else ())
    for _, refused in batch:
        yield next(shares) if refused is None else refused
