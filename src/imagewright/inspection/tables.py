"""Tables of what is rare: refused and left-out images, and duplicates."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from imagewright.data.findings import Findings
from imagewright.names import shown

__all__ = ["DUPLICATES", "LEFT_OUT", "REJECTED", "duplicates", "left_out", "rejected", "write_table"]

REJECTED = ("path", "reason", "detail")
LEFT_OUT = ("path", "class", "policy")
DUPLICATES = ("group", "kind", "path", "class", "split", "sha256")


def rejected(findings: Findings) -> Iterator[tuple[str, str, str]]:
    """REJECTED of each refused image: first those that the source names and nobody could try, then row by row."""
    for path, why in findings.listing.refused.items():
        yield shown(path), shown(why.reason), shown(why.detail)
    for row, why in sorted(findings.refused.items()):
        yield shown(findings.listing.samples[row].path), shown(why.reason), shown(why.detail)


def left_out(findings: Findings) -> Iterator[tuple[str, str, str]]:
    """LEFT_OUT of each good image that a policy leaves out, row by row."""
    for row, policy in sorted(findings.left_out.items()):
        sample = findings.listing.samples[row]
        yield shown(sample.path), shown(findings.listing.classes[sample.label]), shown(policy)


def duplicates(findings: Findings, groups: Iterable[int]) -> Iterator[tuple[int, str, str, str, str, str]]:
    """DUPLICATES of each member of some groups.

    Args:
        findings: whose duplicates they are.
        groups: indices into the duplicates; in the table they are counted from 1.
    """
    for group in groups:
        for row in findings.duplicates[group].members:
            sample = findings.listing.samples[row]
            yield (
                group + 1,
                findings.duplicates[group].kind,
                shown(sample.path),
                shown(findings.listing.classes[sample.label]),
                str(findings.splits[row]),
                findings.records["sha256"][row].tobytes().hex(),
            )


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file; with the header alone if there are no rows."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)
