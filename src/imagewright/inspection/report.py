"""The data report: one HTML page beside its pictures, tables and numbers."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from imagewright.data.findings import Findings
from imagewright.data.sources import SPLITS
from imagewright.inspection import charts, sheets, tables
from imagewright.inspection.columns import Columns, columns_of
from imagewright.inspection.summary import summarize
from imagewright.names import shown
from imagewright.page import render

__all__ = ["write_data_report"]

# Lines of a table on the page, members of a group on it; the CSV files have all.
_LINES, _MEMBERS = 100, 12


def write_data_report(folder: Path, findings: Findings, *, title: str, dpi: int = 110) -> dict[str, Any]:
    """Write the page ``index.html``, its pictures, ``summary.json`` and the tables of what is wrong.

    The tables are ``rejected.csv``, ``left_out.csv`` and ``duplicates.csv``. Pictures that an earlier report left there
    are removed.

    Args:
        folder: is made if it is missing.
        findings: on N images.
        title: of the page.
        dpi: resolution of the pictures, in pixels per inch.

    Returns:
        what ``summary.json`` says, see :func:`imagewright.inspection.summary.summarize`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    columns = columns_of(findings)
    summary = summarize(findings, columns)
    (folder / "summary.json").write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", "utf-8")
    groups = range(len(findings.duplicates))
    tables.write_table(folder / "rejected.csv", tables.REJECTED, tables.rejected(findings))
    tables.write_table(folder / "left_out.csv", tables.LEFT_OUT, tables.left_out(findings))
    tables.write_table(folder / "duplicates.csv", tables.DUPLICATES, tables.duplicates(findings, groups))
    drawn = _draw(folder, findings, columns, summary, dpi)
    page = render(
        "imagewright.inspection",
        "report.html.j2",
        title=shown(title),
        sentence=_sentence(summary),
        summary=summary,
        splits=SPLITS,
        pictures=drawn,
        rejected=list(islice(tables.rejected(findings), _LINES)),
        left_out=list(islice(tables.left_out(findings), _LINES)),
        groups=_groups(findings, columns),
        lines=_LINES,
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    return summary


def _draw(
    folder: Path, findings: Findings, columns: Columns, summary: dict[str, Any], dpi: int
) -> dict[str, list[str]]:
    """Draw what there is to draw; name of the picture -> its files."""
    for old in folder.glob("*.png"):
        if old.stem in {"counts", "sizes", "modes", "brightness", "duplicates"} or old.match("examples-*.png"):
            old.unlink()
    unused = [row["refused"] + row["left_out"] for row in summary["classes"]]
    charts.draw_counts(folder / "counts.png", findings.listing.classes, columns.counts, unused, dpi)
    drawn = {"counts": ["counts.png"]}
    if len(columns.used):
        heights, widths = (findings.records[side][columns.used] for side in ("height", "width"))
        stored = summary["stored"]["height"], summary["stored"]["width"]
        charts.draw_sizes(folder / "sizes.png", heights, widths, stored, dpi)
        charts.draw_modes(folder / "modes.png", summary["formats"], summary["modes"], dpi)
        sheets.draw_brightness(folder / "brightness.png", findings, columns, dpi)
        drawn |= {name: [f"{name}.png"] for name in ("sizes", "modes", "brightness")}
        drawn["examples"] = sheets.draw_examples(folder, findings, columns, dpi)
    if findings.duplicates:
        sheets.draw_duplicates(folder / "duplicates.png", findings, columns, dpi)
        drawn["duplicates"] = ["duplicates.png"]
    return drawn


def _sentence(summary: dict[str, Any]) -> str:
    images, ignored = summary["images"], sum(summary["ignored"].values())
    splits = ", ".join(f"{count:,} {split}" for split, count in summary["splits"].items())
    number = len(summary["classes"])
    classes = f"{number:,} {'class' if number == 1 else 'classes'}"
    return (
        f"{images['used']:,} of {images['listed']:,} images are used, in {classes} ({splits}); "
        f"{images['refused']:,} refused, {images['left_out']:,} left out, {ignored:,} other files ignored."
    )


def _groups(findings: Findings, columns: Columns) -> list[dict[str, Any]]:
    """The first groups of duplicates as the page shows them."""
    groups = []
    for group in columns.duplicates.by_concern()[:_LINES]:
        members = findings.duplicates[group].members
        groups.append(
            {
                "number": group + 1,
                "kind": findings.duplicates[group].kind,
                "conflict": bool(columns.duplicates.conflict[group]),
                "shared": int(columns.duplicates.splits[group].sum()) > 1,
                "more": max(len(members) - _MEMBERS, 0),
                "members": [
                    {
                        "path": shown(findings.listing.samples[row].path),
                        "class": shown(findings.listing.classes[findings.listing.samples[row].label]),
                        "split": str(findings.splits[row]) or "left out",
                    }
                    for row in members[:_MEMBERS]
                ],
            }
        )
    return groups
