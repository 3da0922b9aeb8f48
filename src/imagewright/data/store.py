"""Packed arrays on disk: what prepare writes and every later stage maps into memory.

    <folder>/classes.json               names of the classes
    <folder>/samples.csv                one line for each image, see COLUMNS
    <folder>/<split>/images.npy         uint8, (N, H, W, C)
    <folder>/<split>/labels.npy         int64, (N,)
    <folder>/config.yaml                the sections of the configuration that the folder was made from

Images are written as they come, so that the memory needed does not grow with their number.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from imagewright.errors import DataError

__all__ = ["COLUMNS", "ArrayWriter", "Row", "StoredSample", "read_classes", "read_rows", "read_split", "write_store"]

# Bytes of the header of an array file, and so of a file without content.
_MAPPABLE = 128
# height, width, format and mode are those of the original; sha256 is that of the stored pixels.
COLUMNS = (
    *("path", "sha256", "label", "class", "split", "row"),
    *("height", "width", "format", "mode", "group", "notes"),
)


class ArrayWriter:
    """Writes ``images.npy`` and ``labels.npy`` of a known number of images, any row at a time."""

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]) -> None:
        """Make the files, at their full size.

        Args:
            folder: is made if it is missing.
            shape: (N, H, W, C).
        """
        folder.mkdir(parents=True, exist_ok=True)
        # An empty file cannot be mapped.
        self.images: npt.NDArray[np.uint8] = (
            np.lib.format.open_memmap(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
            if shape[0]
            else np.empty(shape, dtype=np.uint8)
        )
        if not shape[0]:
            np.save(folder / "images.npy", self.images)
        self.labels = np.zeros(shape[0], dtype=np.int64)
        self._folder = folder

    def flush(self) -> None:
        """Write what is still in memory."""
        if isinstance(self.images, np.memmap):
            self.images.flush()
        np.save(self._folder / "labels.npy", self.labels)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.flush()


class StoredSample(NamedTuple):
    """A line of ``samples.csv``; the stored size is that of the arrays.

    Attributes:
        path: where the image came from, as text that can be written.
        sha256: of its stored pixels, in hexadecimal.
        label: index of its class.
        split: train, validation or test.
        height: of the original, in pixels.
        width: of the original, in pixels.
        format: of the original: JPEG, PNG, ..., array.
        mode: pixel format of the original, by Pillow's name.
        group: of the user's, or empty.
        notes: what was noticed and mended, or empty.
    """

    path: str
    sha256: str
    label: int
    split: str
    height: int
    width: int
    format: str
    mode: str
    group: str = ""
    notes: str = ""


def write_store(
    folder: Path,
    *,
    classes: Sequence[str],
    samples: Iterable[StoredSample],
    sizes: Mapping[str, int],
    portions: Iterable[npt.NDArray[np.uint8]],
    shape: tuple[int, int, int],
) -> None:
    """Write every sample into the array of its split; memory does not grow with their number.

    Args:
        folder: where the store is written.
        classes: names, by label.
        samples: N images, in the order of the pixels.
        sizes: number of images of each split.
        portions: the pixels, uint8, (B, H, W, C), N images altogether.
        shape: (H, W, C) that all must have.

    Raises:
        DataError: an image has another shape or type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(list(classes), ensure_ascii=False, indent=2) + "\n", "utf-8")
    labels = {split: np.zeros(size, dtype=np.int64) for split, size in sizes.items()}
    rows = dict.fromkeys(sizes, 0)
    every = iter(samples)
    with ExitStack() as stack:
        arrays = {split: stack.enter_context(_begun(folder / split, (size, *shape))) for split, size in sizes.items()}
        table = csv.writer(
            stack.enter_context((folder / "samples.csv").open("w", newline="", encoding="utf-8")), lineterminator="\n"
        )
        table.writerow(COLUMNS)
        for pixels in portions:
            part = list(islice(every, len(pixels)))
            if pixels.shape[1:] != shape or pixels.dtype != np.uint8:
                raise DataError(
                    f"{part[0].path}: must be uint8 of shape {shape}, got {pixels.dtype} of {pixels.shape[1:]}; "
                    f"mend data.image_size, data.channels or the source"
                )
            splits = np.array([sample.split for sample in part])
            for split in dict.fromkeys(splits.tolist()):
                arrays[split].write(np.ascontiguousarray(pixels[splits == split]).data)
            for sample in part:
                row = rows[sample.split]
                labels[sample.split][row] = sample.label
                rows[sample.split] += 1
                table.writerow(_line(sample, classes, row))
    for split, values in labels.items():
        np.save(folder / split / "labels.npy", values)


def _begun(folder: Path, shape: tuple[int, int, int, int]) -> BinaryIO:
    """The file of an array of this shape, after its header."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "images.npy").open("wb")
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file


def _line(sample: StoredSample, classes: Sequence[str], row: int) -> tuple[object, ...]:
    return (
        *(sample.path, sample.sha256, sample.label, classes[sample.label], sample.split, row),
        *(sample.height, sample.width, sample.format, sample.mode, sample.group, sample.notes),
    )


def read_split(folder: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Map the arrays of one split.

    Args:
        folder: one of a split, with ``images.npy`` and ``labels.npy``.

    Returns:
        images uint8 (N, H, W, C), mapped read-only, and labels int64 (N,).

    Raises:
        DataError: the arrays are missing or do not belong together.
    """
    images, labels = (_read_array(folder / f"{name}.npy") for name in ("images", "labels"))
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) != len(labels):
        raise DataError(
            f"{folder}: images must be uint8 (N, H, W, C) with N labels, got {images.dtype} {images.shape} with "
            f"{len(labels)} labels; run `dvc repro` again"
        )
    return images, labels


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        # An empty array cannot be mapped, and labels are small.
        mapped = path.name == "images.npy" and path.stat().st_size > _MAPPABLE
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise DataError(f"{path.parent}: has no {path.name}; run `dvc repro` first") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: is no whole array ({error}); run `dvc repro` again") from error
    return array


def read_classes(folder: Path) -> list[str]:
    """Names of the classes of a store."""
    try:
        names: list[str] = json.loads((folder / "classes.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: has no classes.json; run `dvc repro` first") from error
    return names


class Row(NamedTuple):
    """What a row of a split's arrays is, from ``samples.csv``."""

    path: str
    sha256: str
    name: str


def read_rows(folder: Path) -> dict[str, list[Row]]:
    """Path, digest of the pixels, and class of each image: split -> rows, in the order of its arrays.

    Raises:
        DataError: ``samples.csv`` is missing.
    """
    rows: dict[str, list[Row]] = {}
    try:
        with (folder / "samples.csv").open(newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                rows.setdefault(line["split"], []).append(Row(line["path"], line["sha256"], line["class"]))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: has no samples.csv; run `dvc repro` first") from error
    return rows
