"""Names of files and classes as they can be printed, written and drawn."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

__all__ = ["drawable", "fitted", "shown"]


def shown(name: str) -> str:
    r"""A path or name as text that can be printed and written: what is no UTF-8 or no printable character as ``\x..``.

    File names on Linux are bytes; Python has those that are no UTF-8 as lone surrogates, which no file takes.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def drawable(name: str) -> str:
    """A name with escapes for what the font lacks: matplotlib would warn and draw an empty box."""
    letters = _letters()
    return "".join(
        letter if ord(letter) in letters else letter.encode("unicode_escape").decode() for letter in shown(name)
    )


def fitted(name: str, width: float, measure: Callable[[str], float], *, end: bool = False) -> str:
    """A drawable name, cut where it is wider than its place, with an ellipsis for the rest.

    Args:
        name: of a class, or a path.
        width: of the place.
        measure: gives the width of a text, in the same unit.
        end: whether the end is kept and not the beginning.
    """
    # No place takes more, and measuring takes time.
    text = whole = drawable(name)[-100:] if end else drawable(name)[:100]
    keep = len(whole)
    while keep > 1 and (wide := measure(text)) > width:
        keep = max(1, min(keep - 1, int(keep * width / wide)))
        text = f"…{whole[-keep:]}" if end else f"{whole[:keep]}…"
    return text


@cache
def _letters() -> frozenset[int]:
    # matplotlib takes a while to import, and most of what has names does not draw them.
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return frozenset(get_font(findfont(FontProperties())).get_charmap())
