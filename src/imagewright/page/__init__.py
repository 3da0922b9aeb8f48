"""Pages: one look for all of them, and every text in them escaped."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader

from imagewright.names import shown

__all__ = ["data_uri", "render"]


def render(package: str, template: str, **values: Any) -> str:
    """A page as HTML.

    Args:
        package: that the template belongs to.
        template: its file; it extends ``page/page.html.j2``.
        **values: what it shows.
    """
    loader = PrefixLoader({"page": PackageLoader("imagewright.page", "."), "own": PackageLoader(package, ".")})
    environment = Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    return environment.get_template(f"own/{template}").render(**values)


def data_uri(picture: Path) -> str:
    """A PNG file as part of a page, which then needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode('ascii')}"
