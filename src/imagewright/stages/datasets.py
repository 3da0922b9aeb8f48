"""What a run says of the images that it uses."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from imagewright.data.sources import SPLITS
from imagewright.data.store import Row, read_rows, read_split
from imagewright.names import shown
from imagewright.stages.sections import FILE, read_sections
from imagewright.tracking.provenance import DatasetUse

__all__ = ["describe_data"]

_DIGITS = 16


def describe_data(prepared: Path) -> list[DatasetUse]:
    """Training, validation and test images, each with a digest of paths, pixels and classes.

    Args:
        prepared: folder of the stage prepare.
    """
    section = read_sections(prepared / FILE, "data")["data"]
    rows = read_rows(prepared)
    return [
        DatasetUse(
            context=split,
            name=_name(section),
            digest=_digest(rows.get(split, [])),
            source=shown(str((prepared / split).resolve())),
            shape=read_split(prepared / split)[0].shape,
            classes=dict(Counter(row.name for row in rows.get(split, []))),
        )
        for split in SPLITS
    ]


def _name(section: dict[str, object]) -> str:
    """The source, and where it lies."""
    kind = str(section["_target_"]).rpartition(".")[2].lower()
    return shown(f"{kind} {Path(str(section['path'])).name}") if section.get("path") else kind


def _digest(rows: Sequence[Row]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\0".join(row).encode() + b"\n")
    return digest.hexdigest()[:_DIGITS]
