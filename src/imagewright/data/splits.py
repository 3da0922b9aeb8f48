"""Which images are for training, validation and test.

What belongs together is never parted: duplicates, and the images of one group of the user's (a patient, a camera). Such
images are one unit. What the source itself puts into a split stays there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imagewright.errors import DataError
from imagewright.names import shown

__all__ = ["assign_splits"]

Counts = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int64]


def assign_splits(
    labels: Sequence[int],
    validation: float,
    test: float,
    seed: int,
    classes: Sequence[str],
    *,
    official: Sequence[str | None] | None = None,
    units: Sequence[int] | None = None,
) -> list[str]:
    """Draw the splits that the source does not have, class by class (stratified), units of images as a whole.

    Units of several images come first, the largest before the others, each where most of its classes is missing;
    single images then fill each class up to its share. Each class has at least one unit in each split.

    Args:
        labels: class index of each of the N images.
        validation: share of the images that are drawn from.
        test: likewise.
        seed: of the drawing.
        classes: names of the classes, for the messages.
        official: split of each image by its source, or None. A split that stands here is not drawn; the others are
            drawn from the images of "train" and None.
        units: number of the unit of each image; by default each image is its own.

    Returns:
        train, validation or test for each image.

    Raises:
        DataError: a class has too few units to stand in each split.
    """
    count, label_of = len(labels), np.asarray(labels, dtype=np.int64)
    given = np.array([split or "" for split in (official or [None] * count)], dtype=object)
    shares = {split: share for split, share in (("validation", validation), ("test", test)) if split not in set(given)}
    splits = np.where(given == "", "train", given)
    pool = np.flatnonzero(splits == "train")
    if shares and len(pool):
        drawn = _draw(
            label_of[pool], np.asarray(units if units is not None else range(count))[pool], shares, seed, classes
        )
        splits[pool] = drawn
    return [str(split) for split in splits]


def _draw(
    labels: Rows, units: Rows, shares: Mapping[str, float], seed: int, classes: Sequence[str]
) -> npt.NDArray[np.object_]:
    names = ["train", *shares]
    _, unit_of, sizes = np.unique(units, return_inverse=True, return_counts=True)
    _check_enough(labels, unit_of, len(names), classes)
    totals = np.bincount(labels, minlength=len(classes))
    room = _targets(totals, list(shares.values()))  # (K, splits): images of each class that each split still lacks
    targets = np.maximum(room, 1)
    place = np.full(len(labels), -1)
    random = np.random.default_rng(seed)
    # 1. Units of several images.
    several = np.flatnonzero(sizes > 1)
    members = _members(unit_of, several)
    for unit in sorted(random.permutation(several).tolist(), key=lambda unit: -sizes[unit]):
        content = np.bincount(labels[members[unit]], minlength=len(classes))
        place[members[unit]] = chosen = _most_wanted(content, room, targets)
        room[:, chosen] -= content
    # 2. Single images, class by class.
    singles = sizes[unit_of] == 1
    for label in range(len(classes)):
        rows = random.permutation(np.flatnonzero(singles & (labels == label)))
        for split in range(1, len(names)):
            wanted = max(int(room[label, split]), 0)
            place[rows[:wanted]], rows = split, rows[wanted:]
        place[rows] = 0
    # 3. No class is missing anywhere.
    _fill_gaps(place, labels, unit_of, len(names), classes, names)
    drawn: npt.NDArray[np.object_] = np.array(names, dtype=object)[place]
    return drawn


def _check_enough(labels: Rows, unit_of: Rows, splits: int, classes: Sequence[str]) -> None:
    for label, name in enumerate(classes):
        rows = labels == label
        images, units = int(rows.sum()), len(np.unique(unit_of[rows]))
        if units < splits:
            grouped = f" in {units} groups of images that belong together" if units != images else ""
            raise DataError(
                f"data: class {shown(name)!r} has {images} images{grouped}; each class needs at least {splits}, one a "
                f"split; add images or leave the class out"
            )


def _targets(totals: Counts, shares: Sequence[float]) -> Counts:
    """Images of each class for training and each drawn split, (K, 1 + splits): whole numbers nearest to the shares."""
    targets = np.zeros((len(totals), 1 + len(shares)), dtype=np.int64)
    for column, share in enumerate(shares, start=1):
        exact = totals * share
        whole = np.floor(exact).astype(np.int64)
        # The largest remainders are rounded up, so that the split as a whole has its share, too.
        missing = round(float(exact.sum())) - int(whole.sum())
        whole[np.argsort(whole - exact, kind="stable")[:missing]] += 1
        targets[:, column] = np.maximum(whole, 1)
    over = np.maximum(targets[:, 1:].sum(axis=1) - (totals - 1), 0)
    for label in np.flatnonzero(over):
        while targets[label, 1:].sum() > totals[label] - 1:
            targets[label, 1 + int(np.argmax(targets[label, 1:]))] -= 1
    targets[:, 0] = totals - targets[:, 1:].sum(axis=1)
    return targets


def _members(unit_of: Rows, wanted: Rows) -> dict[int, Rows]:
    """Rows of each of the units ``wanted``."""
    order = np.argsort(unit_of, kind="stable")
    bounds = np.searchsorted(unit_of[order], np.stack([wanted, wanted + 1]))
    return {int(unit): order[start:end] for unit, start, end in zip(wanted, bounds[0], bounds[1], strict=True)}


def _most_wanted(content: Counts, room: Counts, targets: Counts) -> int:
    """The split that lacks most of what a unit has, of those that it fits into; else the one it overfills least."""
    present = np.flatnonzero(content)
    left = (room[present] - content[present, None]) / targets[present]
    fits = left.min(axis=0) >= 0
    need = (content[present, None] * room[present] / targets[present]).sum(axis=0)
    return int(np.argmax(np.where(fits, need, -np.inf))) if fits.any() else int(np.argmax(left.min(axis=0)))


def _fill_gaps(
    place: Rows, labels: Rows, unit_of: Rows, splits: int, classes: Sequence[str], names: Sequence[str]
) -> None:
    """Where a split has no image of a class, give it the smallest unit that its own split can spare."""
    for label, split in [(label, split) for label in range(len(classes)) for split in range(splits)]:
        if (place[labels == label] == split).any():
            continue
        for unit in _by_size(unit_of, np.unique(unit_of[labels == label])):
            rows = unit_of == unit
            left = place[~rows]
            if all(np.isin(np.unique(place[rows]), left[labels[~rows] == other]) for other in np.unique(labels[rows])):
                place[rows] = split
                break
        else:
            raise DataError(
                f"data: class {shown(classes[label])!r} has {(labels == label).sum()} images, but none can go to "
                f"{names[split]} "
                f"without parting a group or emptying another split; make groups smaller or add images"
            )


def _by_size(unit_of: Rows, units: Rows) -> list[int]:
    sizes = np.bincount(unit_of)
    return sorted(units.tolist(), key=lambda unit: (sizes[unit], unit))
