"""CIFAR-10 and CIFAR-100, binary version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from imagewright.data.sources import Listing, Raw, Sample
from imagewright.data.sources.labels import array_samples, checked_names
from imagewright.errors import DataError, choices_hint
from imagewright.names import shown

__all__ = ["Cifar"]

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_LABELS = ("fine", "coarse")
_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
# Records that are read at once.
_BLOCK = 256


@dataclass(frozen=True)
class _Version:
    """How one of the two data sets is stored.

    Attributes:
        name: of the data set.
        folder: that its archive unpacks to.
        archive: that holds the binary version.
        files: split -> its files.
        columns: kind of label -> its byte in a record, which begins with all of them.
        names: kind of label -> the file with the names of its classes.
        count: kind of label -> number of classes.
    """

    name: str
    folder: str
    archive: str
    files: dict[str, tuple[str, ...]]
    columns: dict[str, int]
    names: dict[str, str]
    count: dict[str, int]

    @property
    def record(self) -> int:
        """Bytes of a record: its labels, then the planes of red, green and blue."""
        return len(self.columns) + _PIXELS


_VERSIONS = (
    _Version(
        name="CIFAR-10",
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        files={"train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",)},
        columns={"fine": 0},
        names={"fine": "batches.meta.txt"},
        count={"fine": 10},
    ),
    _Version(
        name="CIFAR-100",
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        files={"train": ("train.bin",), "test": ("test.bin",)},
        columns={"coarse": 0, "fine": 1},
        names={"fine": "fine_label_names.txt", "coarse": "coarse_label_names.txt"},
        count={"fine": 100, "coarse": 20},
    ),
)
# Files of the Python version, which are pickles: reading one can run any code.
_PICKLES = {
    "batches.meta": 0,
    **{f"data_batch_{number}": 0 for number in range(1, 6)},
    "test_batch": 0,
    "cifar-10-batches-py": 0,
    "cifar-10-python.tar.gz": 0,
    "meta": 1,
    "train": 1,
    "test": 1,
    "cifar-100-python": 1,
    "cifar-100-python.tar.gz": 1,
}


class Cifar:
    """Colour images of 32×32 pixels in 10 classes, or in 100 classes that form 20 coarse ones.

    Samples are called ``train/00000`` to ``train/49999`` and ``test/00000`` to ``test/09999``, as the files have them.

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009; the format is described at
    https://www.cs.toronto.edu/~kriz/cifar.html, "binary version". The Python version is never read: it is a pickle.
    """

    def __init__(self, *, path: str, labels: str) -> None:
        """Take the keys; no file is touched.

        Args:
            path: folder with the files, or the one that holds the unpacked folder.
            labels: ``"fine"`` or ``"coarse"`` of CIFAR-100; CIFAR-10 has ``"fine"`` only.
        """
        self._path = Path(path)
        self._labels = labels

    def files(self) -> Iterator[Path]:
        """The files of images and that of the class names.

        Raises:
            DataError: the folder does not hold a whole data set of the binary version.
        """
        folder, version = self._found()
        yield folder / version.names[self._kind(version)]
        for names in version.files.values():
            yield from (folder / name for name in names)

    def listing(self) -> Listing:
        """Classes and labels.

        Raises:
            DataError: a file is missing or cut off, or a label has no class.
        """
        folder, version = self._found()
        kind = self._kind(version)
        classes = _class_names(folder / version.names[kind], version.count[kind])
        samples: list[Sample] = []
        for split, names in version.files.items():
            numbers = [_labels(folder / name, version, kind) for name in names]
            samples += array_samples(np.concatenate(numbers), split)
        if not samples:
            raise DataError(f"{shown(str(folder))}: the files hold no image; unpack {version.archive} again")
        return Listing(classes, samples)

    def raw(self) -> Iterator[Raw]:
        """Arrays uint8 (32, 32, 3).

        Raises:
            DataError: a file was cut off since it was listed.
        """
        folder, version = self._found()
        for names in version.files.values():
            for name in names:
                for block in _records(folder / name, version):
                    planes = block[:, len(version.columns) :].reshape(-1, *_SHAPE)
                    # (B, C, H, W) -> (B, H, W, C)
                    yield from np.ascontiguousarray(planes.transpose(0, 2, 3, 1))

    def _kind(self, version: _Version) -> str:
        if self._labels not in _LABELS:
            raise DataError(
                f"data.labels: must be fine or coarse, got {self._labels!r}; {choices_hint(self._labels, _LABELS)}"
            )
        if self._labels not in version.columns:
            raise DataError(
                f"data.labels: {version.name} has fine labels only, got {self._labels}; set data.labels: fine"
            )
        return self._labels

    def _found(self) -> tuple[Path, _Version]:
        """The folder of the files, and which data set it is."""
        where = shown(str(self._path))
        if not self._path.is_dir():
            raise DataError(f"{where}: no such folder; set data.path to the folder of CIFAR's .bin files")
        places = [
            (folder, version)
            for version in _VERSIONS
            for folder in (self._path, self._path / version.folder)
            if any((folder / name).exists() for names in version.files.values() for name in names)
        ]
        if len(places) > 1:
            both = " and ".join(f"{version.name} in {shown(str(folder))}" for folder, version in places)
            raise DataError(f"{where}: must hold one data set, got {both}; set data.path to the folder of one")
        if not places:
            raise DataError(f"{where}: {self._why_none()}")
        folder, version = places[0]
        needed = [*(name for names in version.files.values() for name in names), version.names[self._kind(version)]]
        missing = [name for name in needed if not (folder / name).is_file()]
        if missing:
            raise DataError(
                f"{shown(str(folder))}: {version.name} must be whole, missing {', '.join(missing)}; "
                f"unpack {version.archive} again"
            )
        return folder, version

    def _why_none(self) -> str:
        for name, index in _PICKLES.items():
            entry = self._path / name
            # Folders called train and test are somebody's images.
            if entry.is_file() or (name.startswith("cifar") and entry.is_dir()):
                version = _VERSIONS[index]
                return (
                    f"holds {name} of the Python version of {version.name}, a pickle, which is never loaded because it "
                    f"can run code; download the binary version, {version.archive}, from {_PAGE}"
                )
        for version in _VERSIONS:
            if (self._path / version.archive).exists():
                return f"{version.archive} is packed; unpack it with tar -xzf {version.archive}"
        held = ", ".join(shown(entry.name) for entry in sorted(self._path.iterdir())[:8]) or "nothing"
        return (
            f"must hold data_batch_1.bin ... (CIFAR-10) or train.bin (CIFAR-100), got {held}; "
            f"download the binary version from {_PAGE}"
        )


def _class_names(path: Path, count: int) -> list[str]:
    """The K names of a file with one a line; the files end with empty lines."""
    try:
        lines = path.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{shown(str(path))}: is no list of names ({error}); unpack the archive again") from error
    names = [line.strip() for line in lines if line.strip()]
    if len(names) != count:
        raise DataError(
            f"{shown(str(path))}: must hold {count} names of classes, one a line, got {len(names)}; "
            f"unpack the archive again"
        )
    return checked_names(names, shown(str(path)))


def _labels(path: Path, version: _Version, kind: str) -> npt.NDArray[np.uint8]:
    """Labels (N,) of a file."""
    column, count = version.columns[kind], version.count[kind]
    # A copy, so that the pixels beside it can go.
    parts = [block[:, column].copy() for block in _records(path, version)]
    labels = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    if len(labels) and labels.max() >= count:
        row = int(np.argmax(labels >= count))
        raise DataError(
            f"{shown(str(path))}: {kind} labels must be from 0 to {count - 1}, got {labels[row]} in record {row}; "
            f"unpack {version.archive} again"
        )
    return labels


def _records(path: Path, version: _Version) -> Iterator[npt.NDArray[np.uint8]]:
    """Blocks of records, uint8 (B, labels and pixels)."""
    row = version.record
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK * row):
                if len(block) % row:
                    raise DataError(
                        f"{shown(str(path))}: must be a multiple of {row} bytes, a record of {version.name}, "
                        f"got {path.stat().st_size}; unpack {version.archive} again"
                    )
                yield np.frombuffer(block, np.uint8).reshape(-1, row)
    except OSError as error:
        raise DataError(f"{shown(str(path))}: cannot be read ({error.strerror}); mend its permissions") from error
