"""Packed arrays on disk: what prepare writes and every later stage maps into memory.

    <folder>/classes.json               names of the classes
    <folder>/samples.csv                one line for each image: path, sha256, label, class, split, row, size, notes
    <folder>/<split>/images.npy         uint8, (N, H, W, C)
    <folder>/<split>/labels.npy         int64, (N,)
    <folder>/config.yaml                the sections of the configuration that the folder was made from

Images are written one by one into memory-mapped files, so that the memory needed does not grow with their number.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from imagewright.errors import DataError

if TYPE_CHECKING:
    from imagewright.data.sources import Pixels, Sample

__all__ = ["COLUMNS", "ArrayWriter", "read_classes", "read_split", "write_store"]

# Bytes of the header of an array file, and so of a file without content.
_MAPPABLE = 128
COLUMNS = ("path", "sha256", "label", "class", "split", "row", "height", "width", "channels", "notes")


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


def write_store(
    folder: Path,
    *,
    classes: Sequence[str],
    samples: Iterable[Sample],
    splits: Sequence[str],
    read: Callable[[Sample], Pixels],
    shape: tuple[int, int, int],
) -> None:
    """Read every sample once and write it into the array of its split.

    Args:
        folder: where the store is written.
        classes: names, by label.
        samples: N images.
        splits: the split of each.
        read: gives the pixels of one, uint8, (H, W, C).
        shape: (H, W, C) that all must have.

    Raises:
        DataError: an image has another shape or type.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.json").write_text(json.dumps(list(classes), ensure_ascii=False, indent=2) + "\n", "utf-8")
    sizes = Counter(splits)
    writers = {split: ArrayWriter(folder / split, (size, *shape)) for split, size in sorted(sizes.items())}
    next_row = dict.fromkeys(sizes, 0)
    with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for sample, split in zip(samples, splits, strict=True):
            pixels = read(sample)
            if pixels.shape != shape or pixels.dtype != np.uint8:
                raise DataError(
                    f"{sample.path}: must be uint8 of shape {shape}, got {pixels.dtype} of {pixels.shape}; "
                    f"mend data.image_size, data.channels or the source"
                )
            row, writer = next_row[split], writers[split]
            writer.images[row], writer.labels[row] = pixels, sample.label
            next_row[split] += 1
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            name = classes[sample.label]
            table.writerow((sample.path, digest, sample.label, name, split, row, *shape, ""))
    for writer in writers.values():
        writer.flush()


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
