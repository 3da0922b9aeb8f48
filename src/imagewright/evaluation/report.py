"""The report: one HTML page beside its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

__all__ = ["write_report"]


def write_report(
    path: Path,
    *,
    title: str,
    summary: str,
    scores: Mapping[str, float],
    by_class: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, str],
    configuration: str,
) -> None:
    """Write the page; every text in it is escaped.

    Args:
        path: of the HTML file.
        title: of the page.
        summary: one sentence under it.
        scores: name -> value, in the order of the table.
        by_class: class -> support, precision, recall, f1.
        pictures: path relative to the page -> caption.
        configuration: the resolved configuration, as YAML.
    """
    environment = Environment(loader=PackageLoader("imagewright.evaluation", "."), autoescape=True)
    page = environment.get_template("report.html.j2").render(
        title=title, summary=summary, scores=scores, by_class=by_class, pictures=pictures, configuration=configuration
    )
    path.write_text(page, encoding="utf-8")
