"""IDX, the format of MNIST, Fashion-MNIST, KMNIST and EMNIST."""

from __future__ import annotations

import contextlib
import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from imagewright.data.sources import SPLIT_NAMES, SPLITS, Listing, Raw, Sample
from imagewright.data.sources.labels import array_samples, numbered_names
from imagewright.errors import DataError
from imagewright.names import shown

__all__ = ["Idx"]

# `train-images-idx3-ubyte.gz`, `t10k-labels.idx1-ubyte`, `emnist-letters-test-images-idx3-ubyte`, ...
_NAME = re.compile(
    r"(?:^|[-_.])(?P<split>t10k|" + "|".join(sorted(SPLIT_NAMES, reverse=True)) + r")[-_.]"
    r"(?:.*[-_.])?(?P<kind>images|labels)[-_.]idx[0-9](?:[-_.](?:ubyte|byte|short|int))?(?P<packed>\.gz)?$",
    re.IGNORECASE,
)
_DIMENSIONS = {"images": 3, "labels": 1}
# Third byte of the magic number. All numbers are big-endian.
_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP = b"\x1f\x8b"
_BLOCK = 1 << 20  # bytes


@dataclass(frozen=True)
class _Header:
    dtype: np.dtype[np.generic]
    shape: tuple[int, ...]

    @property
    def row(self) -> int:
        """Bytes of one element of the first dimension."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class Idx:
    """Pairs of files with images (N, H, W) and labels (N,), one pair for each split.

    The file whose name says ``train`` goes with training, ``t10k`` or ``test`` with test. Plain and gzipped files are
    told apart by their content. Samples are called ``train/00000``, ``test/00000``, by split and row.

    Format: Y. LeCun, C. Cortes and C. J. C. Burges, The MNIST Database of Handwritten Digits, "The IDX file format",
    https://yann.lecun.org/exdb/mnist/. EMNIST: Cohen et al. 2017, arXiv:1702.05373.
    """

    def __init__(self, *, path: str, classes: Sequence[str] | None, transpose: bool) -> None:
        """Take the keys; no file is touched.

        Args:
            path: folder with the files.
            classes: K names by label, or None for the numbers.
            transpose: exchange rows and columns of each image, as EMNIST needs.
        """
        self._folder = Path(path)
        self._classes = classes
        self._transpose = transpose

    def files(self) -> Iterator[Path]:
        """The files of images and labels.

        Raises:
            DataError: the folder is missing, or a pair is not there or not clear.
        """
        for pair in self._pairs().values():
            yield from pair

    def listing(self) -> Listing:
        """Classes and labels; checks each file from its first to its last byte.

        Raises:
            DataError: a file is no IDX file, is cut off, or does not belong to its partner.
        """
        samples: list[Sample] = []
        highest = 0
        pairs = self._pairs()
        for split, (images, labels) in pairs.items():
            numbers = self._labels(images, labels)
            highest = max(highest, int(numbers.max(initial=0)))
            samples += array_samples(numbers, split)
        if not samples:
            raise DataError(f"{shown(str(self._folder))}: the files hold no image; copy the data again")
        classes = numbered_names(highest, self._classes, shown(str(self._folder)))
        return Listing(classes, samples, remarks=self._remarks([images.name for images, _ in pairs.values()]))

    def raw(self) -> Iterator[Raw]:
        """Arrays (H, W) of the type that the file has.

        Raises:
            DataError: a file is broken or was cut off since it was listed.
        """
        for images, _ in self._pairs().values():
            with _opened(images) as file:
                header = _header(file, images, "images")
                native = header.dtype.newbyteorder("=")
                for row in range(header.shape[0]):
                    data = _read(file, images, header.row)
                    if len(data) < header.row:
                        raise DataError(f"{shown(str(images))}: ends within image {row}; copy the file again")
                    image = np.frombuffer(data, header.dtype).astype(native, copy=False).reshape(header.shape[1:])
                    yield np.ascontiguousarray(image.T) if self._transpose else image

    def _pairs(self) -> dict[str, tuple[Path, Path]]:
        """Split -> its files of images and labels, in the order of SPLITS."""
        found, _ = self._found()
        pairs = {}
        for split in SPLITS:
            files = {kind: found.get((split, kind)) for kind in _DIMENSIONS}
            if files["images"] and files["labels"]:
                pairs[split] = (files["images"], files["labels"])
            elif there := files["images"] or files["labels"]:
                missing = "labels" if files["images"] else "images"
                raise DataError(f"{shown(str(there))}: its file of {missing} is missing; put it beside this one")
        if not pairs:
            held = ", ".join(shown(entry.name) for entry in sorted(self._folder.iterdir())[:8]) or "nothing"
            raise DataError(
                f"{shown(str(self._folder))}: must hold a pair such as train-images-idx3-ubyte and "
                f"train-labels-idx1-ubyte, plain or .gz, got {held}; set data.path to the folder of the files"
            )
        return pairs

    def _found(self) -> tuple[dict[tuple[str, str], Path], list[str]]:
        """(split, kind) -> file, and the names of packed files that lie beside their unpacked selves."""
        if not self._folder.is_dir():
            raise DataError(f"{shown(str(self._folder))}: no such folder; set data.path to the folder of the IDX files")
        files: dict[tuple[str, str], Path] = {}
        doubles = []
        for file in sorted(self._folder.iterdir()):
            match = _NAME.search(file.name)
            if match is None or not file.is_file():
                continue
            said = match["split"].lower()
            key = (SPLIT_NAMES.get(said, "test"), match["kind"].lower())
            other = files.setdefault(key, file)
            if other is file:
                continue
            # A name sorts before itself with .gz.
            if file.name.lower() == f"{other.name.lower()}.gz":
                doubles.append(file.name)
                continue
            raise DataError(
                f"{shown(str(self._folder))}: must hold one file of {key[0]} {key[1]}, got {shown(other.name)} and "
                f"{shown(file.name)}; keep the files of one data set in the folder"
            )
        return files, doubles

    def _labels(self, images: Path, labels: Path) -> npt.NDArray[np.integer]:
        """The labels (N,) of a pair whose files were checked as a whole."""
        with _opened(images) as file:
            pictures = _header(file, images, "images")
            _check_rest(file, images, pictures)
        with _opened(labels) as file:
            header = _header(file, labels, "labels")
            if header.shape[0] != pictures.shape[0]:
                raise DataError(
                    f"{shown(str(labels))}: must hold a label for each of the {pictures.shape[0]} images of "
                    f"{shown(images.name)}, got {header.shape[0]}; take both files from the same download"
                )
            data = _check_rest(file, labels, header, keep=True)
        numbers: npt.NDArray[np.integer] = np.frombuffer(data, header.dtype)
        if len(numbers) and numbers.min() < 0:
            row = int(np.argmax(numbers < 0))
            raise DataError(
                f"{shown(str(labels))}: labels must be 0 or more, got {numbers[row]} for image {row}; mend the file"
            )
        return numbers

    def _remarks(self, names: Sequence[str]) -> list[str]:
        _, doubles = self._found()
        remarks = [f"{shown(name)} was not read: its unpacked file lies beside it" for name in doubles]
        if not self._transpose and any("emnist" in name.lower() for name in names):
            remarks.append(
                "EMNIST has rows and columns of its images exchanged; data.transpose: true sets them upright"
            )
        return remarks


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """The content of a file, unpacked if it is gzipped."""
    try:
        plain = path.open("rb")
    except OSError as error:
        raise DataError(f"{shown(str(path))}: cannot be read ({error.strerror}); mend its permissions") from error
    with plain:
        packed = plain.read(len(_GZIP)) == _GZIP
        plain.seek(0)
        if not packed:
            yield plain
            return
        with gzip.GzipFile(fileobj=plain) as unpacked:
            # Same methods; typeshed has no common type for them.
            yield unpacked  # type: ignore[misc]


def _read(file: BinaryIO, path: Path, size: int) -> bytes:
    try:
        return file.read(size)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{shown(str(path))}: cannot be unpacked ({error}); copy the file again") from error


def _header(file: BinaryIO, path: Path, kind: str) -> _Header:
    """Magic number and sizes: two zero bytes, type, number of dimensions, then each dimension in 4 bytes."""
    dimensions = _DIMENSIONS[kind]
    head = _read(file, path, 4)
    where = shown(str(path))
    if len(head) < 4 or head[:2] != b"\0\0" or head[3] != dimensions or head[2] not in _TYPES:
        raise DataError(
            f"{where}: an IDX file of {kind} must begin with 0x000008{dimensions:02x}, got 0x{head.hex()}; "
            f"copy the file again"
        )
    sizes = _read(file, path, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{where}: ends within its header; copy the file again")
    header = _Header(np.dtype(_TYPES[head[2]]), struct.unpack(f">{dimensions}I", sizes))
    if kind == "labels" and header.dtype.kind == "f":
        raise DataError(f"{where}: labels must be whole numbers, got {header.dtype.name}; mend the file")
    if kind == "images" and not header.row:
        raise DataError(f"{where}: images must have pixels, got {header.shape[1]}x{header.shape[2]}; mend the file")
    return header


def _check_rest(file: BinaryIO, path: Path, header: _Header, *, keep: bool = False) -> bytes:
    """Read what follows the header and compare its size; gives it back if it is to be kept."""
    expected = header.shape[0] * header.row
    kept, found = [], 0
    # One byte more than expected is enough to know; a packed file can hold terabytes.
    while block := _read(file, path, min(_BLOCK, expected + 1 - found)):
        found += len(block)
        if keep:
            kept.append(block)
    if found != expected:
        got = f"{found}" if found < expected else "more"
        raise DataError(
            f"{shown(str(path))}: must hold {expected} bytes after its header (shape {header.shape}, "
            f"{header.dtype.itemsize} bytes each), got {got}; copy the file again"
        )
    return b"".join(kept)
