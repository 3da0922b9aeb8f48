"""NPZ, NumPy's archive of arrays, with the names that MedMNIST gives them."""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from imagewright.data.sources import Listing, Raw, Sample
from imagewright.data.sources.labels import array_samples, numbered_names
from imagewright.errors import DataError
from imagewright.names import shown

__all__ = ["Npz"]

# Split, and what the names of its two arrays begin with.
_SPLITS = {"train": "train_", "validation": "val_", "test": "test_"}
_HINT = "store it with numpy.savez"
# What a damaged archive raises while it is read.
_DAMAGE = (zipfile.BadZipFile, EOFError, OSError, zlib.error)


@dataclass(frozen=True)
class _Array:
    """What the header of an array says."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def row(self) -> int:
        """Bytes of one element of the first dimension."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class Npz:
    """Images (N, H, W) or (N, H, W, C) and labels (N,) or (N, 1) in one file.

    The arrays are called ``train_images``, ``train_labels``, ``val_images``, ``val_labels``, ``test_images`` and
    ``test_labels`` (a split may be missing), or ``images`` and ``labels`` without splits. Samples are called
    ``train/00000``, ``validation/00000``, ``test/00000`` or ``images/00000``, by split and row. Arrays of Python
    objects are pickles, which can run code: they are never loaded.

    Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Names: J. Yang et al., MedMNIST v2,
    Scientific Data 10, 2023, https://medmnist.com.
    """

    def __init__(self, *, path: str, classes: Sequence[str] | None) -> None:
        """Take the keys; no file is touched.

        Args:
            path: the file.
            classes: K names by label, or None for the numbers.
        """
        self._path = Path(path)
        self._classes = classes

    def files(self) -> Iterator[Path]:
        """The file.

        Raises:
            DataError: it is missing.
        """
        if not self._path.is_file():
            raise DataError(f"{shown(str(self._path))}: no such file; set data.path to the .npz file")
        yield self._path

    def listing(self) -> Listing:
        """Classes and labels.

        Raises:
            DataError: the file is no NPZ file, or its arrays are none of images with a label each.
        """
        samples: list[Sample] = []
        highest = 0
        with self._archive() as archive:
            for split, images, labels in self._pairs(archive):
                numbers = self._labels(archive, images, labels)
                highest = max(highest, int(numbers.max(initial=0)))
                samples += array_samples(numbers, split)
        if not samples:
            raise DataError(f"{self._where()}: the arrays hold no image; set data.path to a file with images")
        return Listing(numbered_names(highest, self._classes, self._where()), samples)

    def raw(self) -> Iterator[Raw]:
        """Arrays (H, W) or (H, W, C) of the type that the file has, unpacked one by one.

        Raises:
            DataError: the file is broken or was changed since it was listed.
        """
        with self._archive() as archive:
            for _, images, _ in self._pairs(archive):
                with self._opened(archive, images.name) as file:
                    self._header(file, images.name)
                    native = images.dtype.newbyteorder("=")
                    for row in range(images.shape[0]):
                        data = self._read(file, images.name, images.row)
                        if len(data) < images.row:
                            raise DataError(f"{self._where(images.name)}: ends within image {row}; copy the file again")
                        flat = np.frombuffer(data, images.dtype).astype(native, copy=False)
                        yield flat.reshape(images.shape[1:])

    def _where(self, name: str | None = None) -> str:
        return shown(str(self._path)) + (f", {name}" if name else "")

    @contextlib.contextmanager
    def _archive(self) -> Iterator[zipfile.ZipFile]:
        path = next(self.files())
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
            raise DataError(f"{self._where()}: is no NPZ file, a zip of arrays ({error}); {_HINT}") from error
        with archive:
            yield archive

    def _pairs(self, archive: zipfile.ZipFile) -> list[tuple[str | None, _Array, _Array]]:
        """Split, images and labels, in the order of the splits."""
        held = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        schemes: list[tuple[str | None, str, str]] = [
            (split, f"{prefix}images", f"{prefix}labels") for split, prefix in _SPLITS.items()
        ]
        plain: tuple[str | None, str, str] = (None, "images", "labels")
        found = [scheme for scheme in (*schemes, plain) if scheme[1] in held or scheme[2] in held]
        names = ", ".join(shown(name) for name in held[:12]) or "nothing"
        if not found or (plain in found and len(found) > 1):
            raise DataError(
                f"{self._where()}: must hold train_images, train_labels, val_images, ... or images and labels, "
                f"got {names}; rename the arrays"
            )
        pairs = []
        for split, *pair in found:
            for name in pair:
                if name not in held:
                    raise DataError(f"{self._where()}: must hold {pair[0]} and {pair[1]}, got {names}; add {name}")
            images, labels = (self._described(archive, name) for name in pair)
            self._check(images, labels)
            pairs.append((split, images, labels))
        return pairs

    def _described(self, archive: zipfile.ZipFile, name: str) -> _Array:
        """The header of an array, whose size was checked."""
        with self._opened(archive, name) as file:
            array = self._header(file, name)
            rest = archive.getinfo(f"{name}.npy").file_size - file.tell()
        expected = math.prod(array.shape) * array.dtype.itemsize
        if rest != expected:
            raise DataError(
                f"{self._where(name)}: must hold {expected} bytes ({array.dtype} of shape {array.shape}), got {rest}; "
                f"copy the file again"
            )
        return array

    @contextlib.contextmanager
    def _opened(self, archive: zipfile.ZipFile, name: str) -> Iterator[IO[bytes]]:
        try:
            member = archive.open(f"{name}.npy")
        # RuntimeError: it is encrypted.
        except (zipfile.BadZipFile, OSError, RuntimeError) as error:
            raise DataError(f"{self._where(name)}: cannot be unpacked ({error}); {_HINT}") from error
        with member:
            yield member

    def _read(self, file: IO[bytes], name: str, size: int) -> bytes:
        try:
            return file.read(size)
        except _DAMAGE as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> DataError:
        return DataError(f"{self._where(name)}: cannot be unpacked ({error}); copy the file again")

    def _header(self, file: IO[bytes], name: str) -> _Array:
        """Read the header, and leave the file at the first number."""
        try:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            elif version == (2, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
            else:
                # 3.0 is for structured types, whose fields have names beyond Latin-1.
                raise ValueError(f"version {version[0]}.{version[1]} of the format")
        except _DAMAGE as error:
            raise self._damaged(name, error) from error
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise DataError(f"{self._where(name)}: is no array of numbers ({reason}); {_HINT}") from error
        if dtype.hasobject:
            raise DataError(
                f"{self._where(name)}: must be an array of numbers, got Python objects, a pickle, which is never "
                f"loaded because it can run code; store numbers"
            )
        return _Array(name, dtype, shape, fortran)

    def _check(self, images: _Array, labels: _Array) -> None:
        where, shape = self._where(images.name), images.shape
        if images.dtype.kind not in "uif":
            raise DataError(f"{where}: must be integers or floats, got {images.dtype}; convert the pixels to uint8")
        if len(shape) not in (3, 4) or 0 in shape[1:] or (len(shape) == 4 and shape[3] not in (1, 3, 4)):
            raise DataError(
                f"{where}: must have the shape (N, H, W), or (N, H, W, C) with 1, 3 or 4 channels, got {shape}; "
                f"volumes are no images, and channels stand last"
            )
        if images.fortran and len(shape) > 1:
            raise DataError(
                f"{where}: is stored column by column (Fortran order), so no image can be read by itself; "
                f"store numpy.ascontiguousarray of it"
            )
        where = self._where(labels.name)
        if labels.dtype.kind not in "ui":
            raise DataError(f"{where}: must be whole numbers, got {labels.dtype}; store the index of each class")
        if len(labels.shape) == 2 and labels.shape[1] > 1:
            raise DataError(
                f"{where}: must be one label an image, got shape {labels.shape}, {labels.shape[1]} labels each; "
                f"imagewright trains classifiers of one class an image"
            )
        if labels.shape not in ((shape[0],), (shape[0], 1)):
            raise DataError(
                f"{where}: must have the shape ({shape[0]},) or ({shape[0]}, 1), as {images.name} has {shape[0]} "
                f"images, got {labels.shape}; store a label for each image"
            )

    def _labels(self, archive: zipfile.ZipFile, images: _Array, labels: _Array) -> npt.NDArray[Any]:
        """The labels (N,)."""
        with self._opened(archive, labels.name) as file:
            self._header(file, labels.name)
            # A small type a row, whose size the header was compared with.
            data = self._read(file, labels.name, labels.shape[0] * labels.dtype.itemsize)
        numbers: npt.NDArray[Any] = np.frombuffer(data, labels.dtype)
        if len(numbers) != images.shape[0]:
            raise DataError(
                f"{self._where(labels.name)}: must hold {images.shape[0]} labels, got {len(numbers)}; "
                f"copy the file again"
            )
        if len(numbers) and numbers.min() < 0:
            row = int(np.argmax(numbers < 0))
            raise DataError(
                f"{self._where(labels.name)}: labels must be 0 or more, got {numbers[row]} for image {row}; "
                f"leave images without a label out"
            )
        return numbers
