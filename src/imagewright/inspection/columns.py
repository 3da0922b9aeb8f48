"""The findings as columns of NumPy, so that nothing loops over N images in Python."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import numpy as np
import numpy.typing as npt

from imagewright.data.findings import DuplicateGroup, Findings
from imagewright.data.sources import SPLITS

__all__ = ["UNUSED", "Columns", "Duplicates", "columns_of", "examples", "groups_of"]

# Instead of an index into SPLITS, for an image that is refused or left out.
UNUSED = -1


@dataclass(frozen=True)
class Duplicates:
    """G groups of images that are the same, with M members in all.

    Attributes:
        rows: int64 (M,), the members, group after group.
        owners: int64 (M,), the group of each, counted from 0.
        near: bool (G,), whether the members look the same instead of being equal.
        conflict: bool (G,), whether the members have different labels.
        splits: bool (G, 3), whether a member stands in each of SPLITS.
    """

    rows: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    near: npt.NDArray[np.bool_]
    conflict: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.bool_]

    def by_concern(self) -> list[int]:
        """The groups, those that matter most first: labels differ, splits share them, all others."""
        crossing = self.splits.sum(axis=1) > 1
        order: list[int] = np.lexsort((~crossing, ~self.conflict)).tolist()
        return order


@dataclass(frozen=True)
class Columns:
    """What is asked of every image.

    Attributes:
        labels: int32 (N,), index of the class.
        splits: int8 (N,), index into SPLITS, or UNUSED.
        used: int64, the rows that are in a split, ascending.
        counts: int64 (K, 3), images of each class in each of SPLITS.
        duplicates: the groups.
    """

    labels: npt.NDArray[np.int32]
    splits: npt.NDArray[np.int8]
    used: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    duplicates: Duplicates


def columns_of(findings: Findings) -> Columns:
    """The columns of findings on N images in K classes; some 25 bytes an image."""
    samples, classes = findings.listing.samples, findings.listing.classes
    labels = np.fromiter(map(attrgetter("label"), samples), np.int32, len(samples))
    splits = np.full(len(samples), UNUSED, np.int8)
    for index, split in enumerate(SPLITS):
        splits[findings.splits == split] = index
    used = np.flatnonzero(splits != UNUSED)
    cells = labels[used].astype(np.int64) * len(SPLITS) + splits[used]
    counts = np.bincount(cells, minlength=len(classes) * len(SPLITS)).reshape(len(classes), len(SPLITS))
    return Columns(labels, splits, used, counts, _duplicates(findings.duplicates, labels, splits))


def _duplicates(
    groups: Sequence[DuplicateGroup], labels: npt.NDArray[np.int32], splits: npt.NDArray[np.int8]
) -> Duplicates:
    sizes = np.fromiter((len(group.members) for group in groups), np.int64, len(groups))
    rows = np.fromiter(chain.from_iterable(group.members for group in groups), np.int64, int(sizes.sum()))
    owners = np.repeat(np.arange(len(groups)), sizes)
    near = np.fromiter((group.kind == "near" for group in groups), np.bool_, len(groups))
    lowest = np.full(len(groups), np.iinfo(np.int32).max, np.int32)
    highest = np.full(len(groups), -1, np.int32)
    np.minimum.at(lowest, owners, labels[rows])
    np.maximum.at(highest, owners, labels[rows])
    within = np.zeros((len(groups), len(SPLITS)), np.bool_)
    placed = splits[rows] != UNUSED
    within[owners[placed], splits[rows][placed]] = True
    return Duplicates(rows, owners, near, lowest < highest, within)


def groups_of(findings: Findings, columns: Columns) -> dict[str, int] | None:
    """Counts of the groups that the source names (patients, cameras), or None if it names none.

    Returns:
        groups; images in them; largest, the images of the largest; across_splits, groups in more than one split.
    """
    names = list(map(attrgetter("group"), findings.listing.samples))
    sizes = Counter(names)
    images = len(names) - sizes.pop(None, 0)
    if not images:
        return None
    seen = Counter(name for name, split in set(zip(names, columns.splits.tolist(), strict=True)) if split != UNUSED)
    return {
        "groups": len(sizes),
        "images": images,
        "largest": max(sizes.values()),
        "across_splits": sum(number > 1 for name, number in seen.items() if name is not None),
    }


def examples(columns: Columns, classes: int, each: int) -> list[list[int]]:
    """Rows of images to show, at even distances within the class.

    They are training images, so that nobody gets to know the test images by the way; a class without training images
    shows others.

    Args:
        columns: of N images.
        classes: of so many first classes.
        each: at most so many rows of a class.
    """
    other = (columns.splits[columns.used] != 0).astype(np.int32)
    keys = columns.labels[columns.used] * 2 + other
    ordered = columns.used[np.argsort(keys, kind="stable")]
    ends = np.cumsum(columns.counts.sum(axis=1))
    chosen = []
    for label in range(classes):
        pool = ordered[: ends[label]][ends[label] - columns.counts[label].sum() :]
        pool = pool[: columns.counts[label, 0]] if columns.counts[label, 0] else pool
        places = np.linspace(0, max(len(pool) - 1, 0), min(each, len(pool))).round().astype(np.int64)
        chosen.append(pool[places].tolist())
    return chosen
