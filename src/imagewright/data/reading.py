"""Reads all images of a source, in several processes, into one file of pixels.

    read_images(source.raw(), ...)   decodes and checks each image, writes its pixels to a row of the staging file
    Staging                          that file: N rows of uint8 (H, W, C), without a header

Rows are written and read by position and not through a memory map: mapped pages would count as memory of the process,
and grow with the number of images.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from imagewright.data.decoding import Decoded, Form, decode
from imagewright.data.duplicates import perceptual_hash
from imagewright.data.findings import RECORD
from imagewright.data.parallel import cores, in_processes
from imagewright.data.sources import Raw, Refused
from imagewright.errors import DataError

__all__ = ["Portion", "Reading", "Staging", "disk_errors", "read_images"]

Images = npt.NDArray[np.uint8]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Pixels that a process hands on at once, in bytes, and as many images at the most.
_PORTION = 2 * 2**20
_MOST_IMAGES = 256
# Images that are read before anything is known of the time that they take.
_FIRST = 8
# Seconds that a portion is to take: none waits long for another, and the bar moves.
_SECONDS = 0.05
# Seconds of work from which on processes are started. With two cores they gain time from about half a second on, and
# with more cores earlier.
_WORTH_PROCESSES = 0.15


class Staging:
    """N images in one file; to be used in a ``with`` statement."""

    def __init__(self, path: Path, shape: tuple[int, int, int, int], *, create: bool = False) -> None:
        """Open the file.

        Args:
            path: of the file.
            shape: (N, H, W, C).
            create: make it, and take all its room on the disk.

        Raises:
            DataError: the disk has not so much room.
        """
        self.shape = shape
        self.path = path
        self._row_bytes = int(np.prod(shape[1:]))
        with disk_errors(path):
            self._file = os.open(path, os.O_RDWR | (os.O_CREAT | os.O_TRUNC if create else 0), 0o644)
            size = shape[0] * self._row_bytes
            if create and size and hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(self._file, 0, size)

    def write(self, first: int, images: Images) -> None:
        """Write images (B, H, W, C) into the rows from ``first`` on."""
        with disk_errors(self.path):
            _write_all(self._file, images.tobytes(), first * self._row_bytes)

    def read(self, first: int, count: int) -> Images:
        """The images of ``count`` rows from ``first`` on, uint8 (count, H, W, C)."""
        content = os.pread(self._file, count * self._row_bytes, first * self._row_bytes)
        return np.frombuffer(content, np.uint8).reshape(count, *self.shape[1:])

    def rows(self, rows: Iterable[int]) -> Images:
        """The images of any rows, uint8 (B, H, W, C)."""
        return np.concatenate([self.read(int(row), 1) for row in rows])

    def portions(self) -> Iterator[Images]:
        """All images in their order, some at a time."""
        step = images_at_once(self.shape)
        for first in range(0, self.shape[0], step):
            yield self.read(first, min(step, self.shape[0] - first))

    def keep_channels(self, channels: int) -> None:
        """Forget the channels after the first ``channels`` ones."""
        first = 0
        shape = (*self.shape[:3], channels)
        row_bytes = int(np.prod(shape[1:]))
        # The new rows are shorter, so they never reach those that are still to be read.
        for images in self.portions():
            with disk_errors(self.path):
                _write_all(self._file, images[..., :channels].tobytes(), first * row_bytes)
            first += len(images)
        self.shape, self._row_bytes = shape, row_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)


def _write_all(file: int, content: bytes, place: int) -> None:
    rest = memoryview(content)
    while rest:
        written = os.pwrite(file, rest, place)
        rest, place = rest[written:], place + written


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the error of a full disk into words."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DataError(
            f"{path.parent}: the disk is full ({error.strerror}); nothing of it is used by a later stage; make room or "
            f"choose a smaller data.image_size, and run again"
        ) from error


def images_at_once(shape: tuple[int, int, int, int]) -> int:
    """How many images of this shape a process works on at once."""
    return max(1, min(_MOST_IMAGES, _PORTION // max(1, int(np.prod(shape[1:])))))


@dataclass(frozen=True)
class Portion:
    """What was read of the rows from ``first`` on.

    Attributes:
        first: a row.
        records: of RECORD, (B,); those of refused images are empty.
        notes: row -> what was noticed and mended.
        refused: row -> why the image cannot be used.
    """

    first: int
    records: npt.NDArray[np.void]
    notes: dict[int, str]
    refused: dict[int, Refused]


@dataclass
class Reading:
    """What was read of N images; attributes as those of :class:`Portion`, for all rows."""

    records: npt.NDArray[np.void]
    notes: dict[int, str] = field(default_factory=dict)
    refused: dict[int, Refused] = field(default_factory=dict)

    def add(self, portion: Portion) -> int:
        """Take a portion over; returns the number of its images."""
        self.records[portion.first : portion.first + len(portion.records)] = portion.records
        self.notes |= portion.notes
        self.refused |= portion.refused
        return len(portion.records)


def read_images(
    raws: Iterable[Raw], staging: Staging, form: Form, *, processes: int | None = None
) -> Iterator[Portion]:
    """Decode every image once, bring it to ``form``, and write it into its row of ``staging``.

    Args:
        raws: N images in their order, as a source gives them.
        staging: N rows; that of a refused image stays empty.
        form: of the pixels.
        processes: how many decode at once; by default as many as there are cores, if there is work for them.

    Yields:
        What was read, in any order.

    Raises:
        DataError: the disk is full, or a decoder crashed.
    """
    images, done, pace = iter(raws), 0, _Pace(staging.shape)
    while processes is None or processes == 1:
        part = list(islice(images, pace.portion))
        if not part:
            return
        yield _read((done, part), staging, form)
        done += len(part)
        pace.add(len(part))
        # Starting processes takes longer than a small source needs.
        if processes is None and pace.left(staging.shape[0] - done) > _WORTH_PROCESSES:
            processes = cores()
            if processes > 1:
                break
    tasks = _tasks(images, done, pace.portion)
    under_way: deque[tuple[int, list[Raw]]] = deque(maxlen=2 * processes)
    try:
        yield from in_processes(
            _read_in_process,
            _remembered(tasks, under_way),
            processes=processes,
            initializer=_begin,
            arguments=(staging.path, staging.shape, form),
        )
    except BrokenProcessPool as error:
        rows = [(first, first + len(part) - 1) for first, part in under_way]
        named = [part[0] for _, part in under_way if isinstance(part[0], str)]
        where = f", the first of them {named[0]!r}" if named else ""
        raise DataError(
            f"data: a process that decodes images ended without a word (killed, short of memory, or a file crashed its "
            f"decoder) at one of the images {rows[0][0]} to {rows[-1][1]}{where}; look at them, or lower "
            f"data.checks.max_pixels"
        ) from error


class _Pace:
    """How long images take, and so how many are worked on at once."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.portion = min(_FIRST, images_at_once(shape))
        self._most = images_at_once(shape)
        self._images = 0
        self._started = 0.0
        self._seconds = 0.0

    def add(self, images: int) -> None:
        """Take note of so many more images. The first ones, which wait for imports, do not count."""
        if not self._started:
            self._started = time.monotonic()
            return
        self._images += images
        self._seconds = time.monotonic() - self._started
        self.portion = max(1, min(self._most, int(self._images * _SECONDS / self._seconds)))

    def left(self, images: int) -> float:
        """Seconds that so many images would take here; 0 as long as nothing is known."""
        return self._seconds / self._images * images if self._seconds > _SECONDS else 0.0


def _tasks(images: Iterator[Raw], first: int, size: int) -> Iterator[tuple[int, list[Raw]]]:
    """Portions of images with the row of the first."""
    while part := list(islice(images, size)):
        yield first, part
        first += len(part)


def _remembered(
    tasks: Iterator[tuple[int, list[Raw]]], under_way: deque[tuple[int, list[Raw]]]
) -> Iterator[tuple[int, list[Raw]]]:
    for task in tasks:
        under_way.append(task)
        yield task


def _read(task: tuple[int, list[Raw]], staging: Staging, form: Form) -> Portion:
    first, raws = task
    portion = Portion(first, np.zeros(len(raws), RECORD), {}, {})
    pixels = np.zeros((len(raws), *staging.shape[1:]), np.uint8)
    used, facts = [], []
    for row, raw in enumerate(raws):
        decoded = decode(raw, form)
        if isinstance(decoded, Refused):
            portion.refused[first + row] = decoded
            continue
        pixels[row] = decoded.pixels
        used.append(row)
        facts.append(_facts(decoded))
        if decoded.note:
            portion.notes[first + row] = decoded.note
    if used:
        portion.records[used] = np.array(facts, RECORD)
        images = pixels if len(used) == len(pixels) else pixels[used]
        portion.records["hash"][used] = perceptual_hash(images)
        portion.records["brightness"][used] = images.mean(axis=(1, 2, 3))
    staging.write(first, pixels)
    return portion


def _facts(decoded: Decoded) -> tuple[Any, ...]:
    """The fields of a RECORD; hash and brightness follow for many images at once."""
    digest = hashlib.sha256(decoded.pixels.data).digest()
    kind, mode = decoded.format.encode()[:8], decoded.mode.encode()[:8]
    return digest, 0, decoded.height, decoded.width, kind, mode, decoded.grey, 0


_process: tuple[Staging, Form]


def _begin(path: Path, shape: tuple[int, int, int, int], form: Form) -> None:
    global _process
    threadpool_limits(1)  # One process for each core; more threads would only wait for each other.
    _process = Staging(path, shape), form


def _read_in_process(task: tuple[int, list[Raw]]) -> Portion:
    return _read(task, *_process)
