"""Walking through folders of images."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from imagewright.data.decoding import SUPPORTED, looks_like
from imagewright.data.sources import Refused
from imagewright.errors import DataError

__all__ = ["Found", "subfolders", "walk"]

_IMAGES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp"),
}
# Images of formats that are not read: to pass them over without a word would lose what their owner counts on.
_FOREIGN = {
    *(
        ".heic",
        ".heif",
        ".avif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".svg",
        ".psd",
        ".ico",
        ".tga",
        ".ppm",
        ".pgm",
        ".pbm",
        ".exr",
    ),
    *(".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"),
}
# What file managers and archives leave behind; hidden files are passed over in any case.
_LITTER = {"thumbs.db", "desktop.ini", "ehthumbs.db", "icon\r", "__macosx", "@eadir", "lost+found"}
_MOST_LEVELS = 64  # of folders within folders


class Found(NamedTuple):
    """A file below a folder.

    Attributes:
        path: relative to the folder, with slashes.
        ignored: the kind of a file or folder that is passed over, or empty.
        refused: why an image cannot be tried, or None.
    """

    path: str
    ignored: str = ""
    refused: Refused | None = None


def walk(folder: Path) -> Iterator[Found]:
    """All files below a folder, in the order of their names' bytes; links are followed, but never in a circle.

    Args:
        folder: is only read.

    Raises:
        DataError: a folder cannot be read.
    """
    yield from _below(os.fspath(folder), "", ())


def subfolders(folder: Path) -> list[str]:
    """Names of the folders in a folder, without those that are hidden or litter."""
    return sorted(
        entry.name for entry in _entries(os.fspath(folder)) if _is(stat.S_ISDIR, entry) and not _passed_over(entry)
    )


def _below(folder: str, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    entries = _entries(folder)
    status = Path(folder).stat()
    here = status.st_dev, status.st_ino
    if here in above or len(above) > _MOST_LEVELS:
        yield Found(prefix, ignored="folder in a circle of links")
        return
    for entry in entries:
        path = f"{prefix}/{entry.name}" if prefix else entry.name
        if kind := _passed_over(entry):
            yield Found(path, ignored=kind)
        elif _is(stat.S_ISDIR, entry):
            yield from _below(entry.path, path, (*above, here))
        else:
            yield _file(entry, path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as scan:
            return sorted(scan, key=lambda entry: os.fsencode(entry.name))
    except OSError as error:
        raise DataError(f"{folder!r}: cannot be read: {error.strerror}; mend its permissions or remove it") from error


def _passed_over(entry: os.DirEntry[str]) -> str:
    if entry.name.startswith("."):
        return "hidden"
    return "left by a file manager" if entry.name.lower() in _LITTER else ""


def _file(entry: os.DirEntry[str], path: str) -> Found:
    stem, dot, ending = entry.name.rpartition(".")
    suffix = f"{dot}{ending.lower()}" if stem else ""
    if suffix in _FOREIGN:
        return Found(path, refused=Refused("wrong format", f"{suffix} is not read; convert it to JPEG or PNG"))
    if suffix and suffix not in _IMAGES:
        return Found(path, ignored=suffix if suffix.isascii() else "other")
    if not _is(stat.S_ISREG, entry):
        return Found(path, refused=Refused("not readable", _kind(entry)))
    if not suffix and not _is_image(entry.path):
        return Found(path, ignored="without a suffix")
    return Found(path)


def _is(kind: Callable[[int], bool], entry: os.DirEntry[str]) -> bool:
    """Whether an entry, or what it links to, is of a kind."""
    try:
        if not entry.is_symlink():  # known from the folder itself
            return entry.is_dir() if kind is stat.S_ISDIR else entry.is_file()
        return kind(entry.stat().st_mode)
    except OSError:  # a link to nothing, or to itself
        return False


def _kind(entry: os.DirEntry[str]) -> str:
    try:
        mode = entry.stat().st_mode
    except OSError:
        return "a link to nothing"
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "no regular file")


def _is_image(path: str) -> bool:
    """Whether a file without a suffix is an image by its content."""
    try:
        with Path(path).open("rb") as file:
            return looks_like(file.read(16)) in SUPPORTED
    except OSError:
        return False
