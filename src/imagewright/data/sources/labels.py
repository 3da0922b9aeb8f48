"""Labels and the names of their classes, as every source that reads files needs them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewright.data.sources import Sample
from imagewright.errors import DataError
from imagewright.names import shown

__all__ = ["array_samples", "checked_names", "numbered_names", "sorted_names"]

# int() takes long numbers badly, and nobody's class has one.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# Each class has a unit of the network; a label beyond this is no label but a mistake, such as a pixel or an id.
_MOST = 100_000


def sorted_names(names: Iterable[str]) -> list[str]:
    """Numerically if all are whole numbers ("2" before "10"), otherwise by text."""
    found = sorted(set(names))
    if all(_WHOLE.fullmatch(name) for name in found):
        found.sort(key=int)
    return found


def checked_names(names: Sequence[str], where: str) -> list[str]:
    """The names as they are shown.

    Args:
        names: K names, by label.
        where: what holds them, for the message.

    Raises:
        DataError: a name is empty or stands twice.
    """
    labels: dict[str, int] = {}
    for label, name in enumerate(names):
        text = shown(str(name).strip())
        if not text:
            raise DataError(f"{where}: the name of class {label} is empty, got {name!r}; give every class a name")
        if text in labels:
            raise DataError(
                f"{where}: each name must stand once, got {text!r} for the classes {labels[text]} and {label}; "
                f"rename one"
            )
        labels[text] = label
    return list(labels)


def numbered_names(highest: int, names: Sequence[str] | None, where: str) -> list[str]:
    """Names of classes that are numbers: those given, or "0", "1", ... up to the highest label.

    Args:
        highest: label.
        names: by label, or None for the numbers.
        where: what holds the labels, for the message.

    Raises:
        DataError: the highest label has no name, or is out of reason.
    """
    if names is not None:
        given = checked_names(names, "data.classes")
        if highest >= len(given):
            raise DataError(
                f"data.classes: must name every label, got {len(given)} names and the label {highest} in {where}; "
                f"name the classes 0 to {highest}, or set null"
            )
        return given
    if highest >= _MOST:
        raise DataError(f"{where}: labels must be below {_MOST}, got {highest}; these are no numbers of classes")
    return [str(label) for label in range(highest + 1)]


def array_samples(labels: npt.NDArray[Any], split: str | None) -> list[Sample]:
    """Samples of N images that have no path of their own: ``train/00000``, or ``images/00000`` without a split.

    Args:
        labels: (N,), whole numbers.
        split: of all of them.
    """
    folder = split or "images"
    return [Sample(f"{folder}/{row:05d}", label, split) for row, label in enumerate(labels.astype(np.int64).tolist())]
