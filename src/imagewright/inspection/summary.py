"""The numbers of the data report, as plain values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewright.data.findings import Findings
from imagewright.data.sources import SPLITS
from imagewright.inspection.columns import Columns, Duplicates, groups_of
from imagewright.names import shown

__all__ = ["PERCENTILES", "extremes", "sizes", "summarize"]

PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def summarize(findings: Findings, columns: Columns) -> dict[str, Any]:
    """Everything that the page says, for machines.

    Sizes, formats, modes and brightness are those of the images in use; sizes are those of the originals, in pixels.
    Brightness is the mean of the stored pixels, from 0 to 255. Numbers of duplicate groups are those of duplicates.csv.

    Returns:
        plain values, for JSON; every name and path in them can be printed.
    """
    listing, used = findings.listing, columns.used
    # Column by column: the records themselves are large.
    records = findings.records
    refused = [*listing.refused.values(), *findings.refused.values()]
    return {
        "images": {
            "listed": len(listing.samples) + len(listing.refused),
            "used": len(used),
            "refused": len(refused),
            "left_out": len(findings.left_out),
        },
        "splits": dict(zip(SPLITS, columns.counts.sum(axis=0).tolist(), strict=True)),
        "classes": _classes(findings, columns),
        "imbalance": _imbalance(findings, columns),
        "refused": _ranked(Counter(shown(why.reason) for why in refused)),
        "left_out": _ranked(Counter(map(shown, findings.left_out.values()))),
        "ignored": _ranked(_added((shown(kind), count) for kind, count in listing.ignored.items())),
        "stored": _stored(findings, columns),
        "sizes": _sizes(records["height"][used], records["width"][used]),
        "formats": _values(records["format"][used]),
        "modes": _values(records["mode"][used]),
        "grey": int(np.count_nonzero(records["grey"][used])),
        "brightness": _brightness(findings, columns),
        "duplicates": _duplicates(columns.duplicates),
        "conflicts": _conflicts(findings, columns),
        "shared": _shared(columns.duplicates, columns.splits),
        "groups": groups_of(findings, columns),
        "notes": _notes(findings),
        "warnings": [shown(words) for words in findings.warnings],
        "remarks": [shown(words) for words in listing.remarks],
    }


def sizes(
    heights: npt.NDArray[np.uint32], widths: npt.NDArray[np.uint32]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The different sizes of images, the most frequent first; equal counts by height, then width.

    Args:
        heights: (N,), in pixels.
        widths: (N,), in pixels.

    Returns:
        (D, 2), height and width in pixels, and (D,), the images of each.
    """
    # One integer for each size: rows of a matrix would be sorted much more slowly.
    keys = heights.astype(np.uint64) << np.uint64(32) | widths
    different, counts = np.unique(keys, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    pairs = np.stack([different >> np.uint64(32), different & np.uint64(0xFFFFFFFF)], axis=1).astype(np.int64)
    return pairs[order], counts[order]


def extremes(findings: Findings, columns: Columns, number: int) -> tuple[list[int], list[int]]:
    """Rows of the darkest and of the brightest images in use, the most extreme first."""
    brightness = findings.records["brightness"][columns.used]
    darkest = columns.used[np.argsort(brightness, kind="stable")[:number]]
    brightest = columns.used[np.argsort(-brightness, kind="stable")[:number]]
    return darkest.tolist(), brightest.tolist()


def _classes(findings: Findings, columns: Columns) -> list[dict[str, Any]]:
    names = findings.listing.classes
    total = max(len(columns.used), 1)
    refused, left_out = (
        np.bincount(columns.labels[np.fromiter(rows, np.int64, len(rows))], minlength=len(names)).tolist()
        for rows in (findings.refused, findings.left_out)
    )
    return [
        {
            "label": label,
            "name": shown(name),
            **dict(zip(SPLITS, counts, strict=True)),
            "used": sum(counts),
            "share": sum(counts) / total,
            "refused": refused[label],
            "left_out": left_out[label],
        }
        for label, (name, counts) in enumerate(zip(names, columns.counts.tolist(), strict=True))
    ]


def _imbalance(findings: Findings, columns: Columns) -> dict[str, Any] | None:
    """The largest and the smallest class; their ratio, or None for it if the smallest is empty."""
    totals = columns.counts.sum(axis=1)
    if not len(totals):
        return None
    ends = {"largest": int(totals.argmax()), "smallest": int(totals.argmin())}
    described: dict[str, Any] = {
        end: {"label": label, "name": shown(findings.listing.classes[label]), "images": int(totals[label])}
        for end, label in ends.items()
    }
    return {**described, "ratio": float(totals.max() / totals.min()) if totals.min() else None}


def _stored(findings: Findings, columns: Columns) -> dict[str, int] | None:
    if not len(columns.used):
        return None
    return dict(zip(("height", "width", "channels"), findings.pixels([int(columns.used[0])]).shape[1:], strict=True))


def _sizes(heights: npt.NDArray[np.uint32], widths: npt.NDArray[np.uint32]) -> dict[str, Any] | None:
    if not len(heights):
        return None
    pairs, counts = sizes(heights, widths)
    return {
        **{
            side: {"min": int(values.min()), "median": float(np.median(values)), "max": int(values.max())}
            for side, values in (("height", heights), ("width", widths))
        },
        "distinct": len(pairs),
        "most_frequent": [
            {"height": height, "width": width, "images": count}
            for (height, width), count in zip(pairs[:10].tolist(), counts[:10].tolist(), strict=True)
        ],
    }


def _brightness(findings: Findings, columns: Columns) -> dict[str, Any] | None:
    if not len(columns.used):
        return None
    values = findings.records["brightness"][columns.used].astype(np.float64)
    darkest, brightest = (
        [
            {
                "path": shown(findings.listing.samples[row].path),
                "brightness": float(findings.records["brightness"][row]),
            }
            for row in rows
        ]
        for rows in extremes(findings, columns, 5)
    )
    splits = columns.splits[columns.used]
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "percentiles": dict(zip(map(str, PERCENTILES), np.percentile(values, PERCENTILES).tolist(), strict=True)),
        "mean_by_split": {
            split: float(values[splits == index].mean())
            for index, split in enumerate(SPLITS)
            if (splits == index).any()
        },
        "darkest": darkest,
        "brightest": brightest,
    }


def _duplicates(groups: Duplicates) -> dict[str, dict[str, int]]:
    return {
        kind: {"groups": int(kept.sum()), "images": int(kept[groups.owners].sum())}
        for kind, kept in (("exact", ~groups.near), ("near", groups.near))
    }


def _conflicts(findings: Findings, columns: Columns) -> list[dict[str, Any]]:
    samples, classes = findings.listing.samples, findings.listing.classes
    return [
        {
            "group": group + 1,
            "kind": findings.duplicates[group].kind,
            "members": [
                {
                    "path": shown(samples[row].path),
                    "label": samples[row].label,
                    "class": shown(classes[samples[row].label]),
                }
                for row in findings.duplicates[group].members
            ],
        }
        for group in np.flatnonzero(columns.duplicates.conflict).tolist()
    ]


def _shared(groups: Duplicates, splits: npt.NDArray[np.int8]) -> list[dict[str, Any]]:
    """For each pair of splits with an image in common: the groups, and the images of both splits in them."""
    found = []
    for first, second in combinations(range(len(SPLITS)), 2):
        both = groups.splits[:, first] & groups.splits[:, second]
        if not both.any():
            continue
        members = groups.rows[both[groups.owners]]
        # An image can stand in an exact and in a near group.
        images = np.unique(members[np.isin(splits[members], (first, second))])
        found.append(
            {
                "splits": [SPLITS[first], SPLITS[second]],
                "groups": int(both.sum()),
                "exact": int((both & ~groups.near).sum()),
                "near": int((both & groups.near).sum()),
                "images": len(images),
                "group_numbers": (np.flatnonzero(both) + 1).tolist(),
            }
        )
    return found


def _notes(findings: Findings) -> list[dict[str, Any]]:
    """Notes that differ in their numbers only are of one kind; the first of each is its example."""
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, str]] = {}
    for row, words in sorted(findings.notes.items()):
        for note in words.split("; "):
            kind = _NUMBER.sub("…", note)
            counts[kind] += 1
            first.setdefault(kind, (row, note))
    return [
        {
            "kind": shown(kind),
            "images": count,
            "example": {
                "path": shown(findings.listing.samples[first[kind][0]].path),
                "note": shown(first[kind][1]),
            },
        }
        for kind, count in _ranked(counts).items()
    ]


def _values(column: npt.NDArray[np.bytes_]) -> dict[str, int]:
    values, counts = np.unique(np.ascontiguousarray(column).view(np.uint64), return_counts=True)
    names = [name.decode("ascii", "replace") for name in values.view("S8").tolist()]
    return _ranked(
        _added((shown(name) or "unknown", count) for name, count in zip(names, counts.tolist(), strict=True))
    )


def _added(pairs: Iterable[tuple[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for name, count in pairs:
        total[name] += count
    return total


def _ranked(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first; equal counts by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
