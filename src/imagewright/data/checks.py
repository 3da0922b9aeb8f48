"""What is refused, left out or only said of what a source holds."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from imagewright.data.findings import DuplicateGroup
from imagewright.data.sources import Listing, Refused
from imagewright.errors import DataError
from imagewright.names import shown

__all__ = ["check_class_names", "check_refused", "check_trainable", "conflicting", "empty_classes", "official_gaps"]

_SHOWN = 10  # refused images that an error lists


def check_class_names(classes: Sequence[str]) -> None:
    """Refuse names that differ in nothing but upper and lower case, or in how a letter is encoded.

    Raises:
        DataError: two names are the same to a person or to a file system.
    """
    if not classes:
        raise DataError("data: there is no class; a folder needs one sub-folder a class, a table needs labels")
    seen: dict[str, str] = {}
    for name in classes:
        folded = unicodedata.normalize("NFC", name).casefold()
        if folded in seen:
            raise DataError(
                f"data: the classes {shown(seen[folded])!r} and {shown(name)!r} differ in upper and lower case only; "
                f"give them the same name or different ones"
            )
        seen[folded] = name


def check_refused(listing: Listing, refused: Mapping[int, Refused], limit: float | None) -> None:
    """Refuse a source of which too many images cannot be used.

    Args:
        listing: of the source, with the images that it refused itself.
        refused: row -> why.
        limit: share of all images (below 1) or number of images; None for no limit.

    Raises:
        DataError: more are refused; lists the first ten.
    """
    rejected = list(listing.refused.items()) + [(listing.samples[row].path, refused[row]) for row in sorted(refused)]
    every = len(listing.samples) + len(listing.refused)
    if len(rejected) == every:
        raise DataError(f"data: none of {every} images can be used{_listed(rejected)}")
    if limit is None or len(rejected) <= (limit * every if limit < 1 else limit):
        return
    raise DataError(
        f"data.checks.max_rejected: at most {limit:g}{' of all images' if 0 < limit < 1 else ''} may be unusable, got "
        f"{len(rejected)} of {every}; mend or remove them, or raise the limit{_listed(rejected)}"
    )


def _listed(rejected: Sequence[tuple[str, Refused]]) -> str:
    lines = [f"\n  {shown(path)}: {why.reason} ({why.detail})" for path, why in rejected[:_SHOWN]]
    more = f"\n  and {len(rejected) - _SHOWN} more" if len(rejected) > _SHOWN else ""
    return f":{''.join(lines)}{more}" if lines else ""


def conflicting(
    groups: Iterable[DuplicateGroup], labels: npt.NDArray[np.int64], policy: str
) -> tuple[list[DuplicateGroup], set[int]]:
    """Groups of duplicates with more than one label, and which of their images are left out.

    Args:
        groups: of duplicates.
        labels: class index of each row.
        policy: keep, drop_exact (leave out equal images) or drop (also those that look the same).
    """
    conflicts = [group for group in groups if len(set(labels[list(group.members)].tolist())) > 1]
    kinds = {"keep": (), "drop_exact": ("exact",), "drop": ("exact", "near")}[policy]
    return conflicts, {row for group in conflicts if group.kind in kinds for row in group.members}


def empty_classes(classes: Sequence[str], labels: Iterable[int], policy: str) -> list[int]:
    """Classes without a usable image, by index.

    Args:
        classes: names.
        labels: of the usable images.
        policy: error or leave_out.

    Raises:
        DataError: there is one, and the policy is error.
    """
    counts = Counter(labels)
    empty = [label for label in range(len(classes)) if not counts[label]]
    if empty and policy == "error":
        names = ", ".join(repr(shown(classes[label])) for label in empty)
        raise DataError(
            f"data.empty_class: each class needs usable images, got 0 for {names}; add images, remove the class, or "
            f"set data.empty_class to leave_out"
        )
    return empty


def check_trainable(classes: Sequence[str], labels: Sequence[int], official: Sequence[str | None]) -> None:
    """Refuse a class of which the source has images, but none that can be trained on.

    Args:
        classes: names.
        labels: of N images.
        official: split of each by its source, or None.

    Raises:
        DataError: there is such a class.
    """
    totals = Counter(labels)
    trained = {label for label, split in zip(labels, official, strict=True) if split in (None, "train")}
    for label, name in enumerate(classes):
        if label not in trained:
            raise DataError(
                f"data: class {shown(name)!r} has {totals[label]} images, but none of them to train on; move some to "
                f"the training split or leave the class out"
            )


def official_gaps(classes: Sequence[str], labels: Sequence[int], splits: Sequence[str]) -> list[str]:
    """Sentences on classes that are missing from a split of the source's own."""
    counts = Counter(zip(labels, splits, strict=True))
    totals = Counter(labels)
    sentences = []
    for label, name in enumerate(classes):
        sentences += [
            f"class {shown(name)!r} has {totals[label]} images, but none in {split}"
            for split in dict.fromkeys(splits)
            if totals[label] and not counts[label, split]
        ]
    return sentences
