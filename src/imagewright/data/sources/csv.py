"""A manifest: a table in a CSV file that names the images, their labels, and maybe their splits and groups."""

from __future__ import annotations

import csv
import functools
import os
import stat
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from imagewright.data.sources import SPLIT_NAMES, SPLITS, Listing, Raw, Refused, Sample
from imagewright.data.sources.labels import checked_names, sorted_names
from imagewright.errors import DataError, choices_hint
from imagewright.names import shown

__all__ = ["Csv"]

_METADATA = "metadata.csv"
# What a column may be called if the configuration does not say.
_USUAL = {
    "path": ("path", "file_name", "filename", "image"),
    "label": ("label", "class", "category"),
    "split": ("split",),
    "group": ("group",),
}
_REQUIRED = ("path", "label")
_DELIMITERS = (",", ";", "\t")
# Characters of a line; a file without line ends would be read into memory as one.
_LONGEST = 1 << 20
_KINDS = (
    (stat.S_ISDIR, "is a folder"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


@dataclass(frozen=True, slots=True)
class _Row:
    """One image, as the table says it; texts as they stand there."""

    line: int
    path: str
    label: str
    split: str
    group: str


@dataclass(frozen=True)
class _Manifest:
    """One table.

    Attributes:
        path: of the file.
        root: folder that its paths start from.
        split: of the folder that it lies in, or None.
    """

    path: Path
    root: Path
    split: str | None

    def place(self, line: int) -> str:
        """For messages."""
        return f"{shown(str(self.path))}, line {line}"


@dataclass(frozen=True)
class _Columns:
    """Where each value stands in a row; -1 for a column that the table does not have."""

    count: int
    path: int
    label: int
    split: int
    group: int

    def row(self, cells: list[str], line: int, manifest: _Manifest) -> _Row:
        if len(cells) < self.count or any(cell.strip() for cell in cells[self.count :]):
            raise DataError(
                f"{manifest.place(line)}: must have {self.count} cells, as the header has, got {len(cells)}; put a "
                f"cell that holds the delimiter in quotes"
            )
        row = _Row(
            line,
            cells[self.path],
            cells[self.label].strip(),
            cells[self.split].strip() if self.split >= 0 else "",
            cells[self.group].strip() if self.group >= 0 else "",
        )
        for role, text in (("path", row.path.strip()), ("label", row.label)):
            if not text:
                raise DataError(
                    f"{manifest.place(line)}: every image must have a {role}, got an empty cell; fill it, or take the "
                    f"line away"
                )
        return row


class Csv:
    """Images named by a CSV file with a header, or by the ``metadata.csv`` of Hugging Face's imagefolder.

    The file is UTF-8, with or without a byte order mark; bytes that are no UTF-8 are taken as bytes of file names.
    Cells may be quoted, empty lines are passed over. A sample is called by its path relative to the root (with split
    folders: to the folder above them), with ``.`` and ``..`` resolved in the text.

    The same row twice is used once, with a remark; two rows that say different things of one image are an error. A file
    that is missing or no regular file is refused and never opened.

    Formats: RFC 4180, https://www.rfc-editor.org/rfc/rfc4180; https://huggingface.co/docs/datasets/image_dataset.
    """

    def __init__(
        self,
        *,
        path: str,
        path_column: str | None,
        label_column: str | None,
        split_column: str | None,
        group_column: str | None,
        root: str | None,
        allow_outside: bool,
        delimiter: str | None,
    ) -> None:
        """Take the keys; no file is touched.

        Args:
            path: the CSV file; or a folder with ``metadata.csv``; or a folder whose folders train, validation and test
                have a ``metadata.csv`` each, and so say the split. With a single ``metadata.csv`` and no column of
                splits, the folders train, validation and test at the beginning of every path say it.
            path_column: name, or None for the first of path, file_name, filename, image that exists.
            label_column: name, or None for the first of label, class, category that exists.
            split_column: name, or None for ``split`` if it exists.
            group_column: name, or None for ``group`` if it exists.
            root: folder that the paths start from, relative to that of the CSV file; None for that folder itself.
            allow_outside: take images that lie outside the root.
            delimiter: one character, or None to find comma, semicolon or tabulator in the header.
        """
        self._path = Path(path)
        self._chosen = {"path": path_column, "label": label_column, "split": split_column, "group": group_column}
        self._root = root
        self._allow_outside = allow_outside
        self._delimiter = delimiter

    def files(self) -> Iterator[Path]:
        """The CSV files, and every image that they name and that exists.

        Raises:
            DataError: as :meth:`listing`, which is needed to know them.
        """
        listing = self._listed
        yield from (manifest.path for manifest in self._manifests)
        yield from (self._base / sample.path for sample in listing.samples)

    def listing(self) -> Listing:
        """Classes, labels, splits and groups.

        Raises:
            DataError: a table is missing or broken, lacks a value, contradicts itself, or leads outside the root.
        """
        return self._listed

    def raw(self) -> Iterator[Raw]:
        """The paths of the images."""
        yield from (str(self._base / sample.path) for sample in self._listed.samples)

    @functools.cached_property
    def _manifests(self) -> list[_Manifest]:
        where = shown(str(self._path))
        if self._path.is_file():
            return [self._manifest(self._path, None)]
        if not self._path.is_dir():
            raise DataError(
                f"{where}: no such file or folder; set data.path to a CSV file or to a folder with {_METADATA}"
            )
        top = self._path / _METADATA
        inner = [
            self._manifest(folder / _METADATA, SPLIT_NAMES[folder.name.lower()])
            for folder in sorted(self._path.iterdir())
            if folder.name.lower() in SPLIT_NAMES and (folder / _METADATA).is_file()
        ]
        if top.is_file() and inner:
            raise DataError(
                f"{where}: must hold one {_METADATA} or one for each split, got {_METADATA} and "
                f"{shown(inner[0].path.parent.name)}/{_METADATA}; set data.path to the one that counts"
            )
        if top.is_file():
            return [self._manifest(top, None)]
        if not inner:
            held = ", ".join(shown(file.name) for file in sorted(self._path.glob("*.[ct]sv"))[:8])
            raise DataError(
                f"{where}: must hold {_METADATA}, or train, validation and test with one each, got "
                f"{held or 'no CSV file'}; set data.path to the CSV file itself"
            )
        return inner

    def _manifest(self, path: Path, split: str | None) -> _Manifest:
        # Normalized as text, so that `..` does not depend on whether the folder of the CSV file is a link.
        root = path.parent if self._root is None else Path(os.path.normpath(path.parent / self._root))
        if not root.is_dir():
            raise DataError(
                f"data.root: must be a folder, relative to {shown(str(path.parent))}, got {self._root!r}; "
                f"set null for the folder of the CSV file"
            )
        return _Manifest(path, root, split)

    @functools.cached_property
    def _base(self) -> Path:
        """What the paths of the samples are relative to."""
        first = self._manifests[0]
        return self._path if first.split else first.root

    @functools.cached_property
    def _listed(self) -> Listing:
        kept = _Kept()
        for manifest in self._manifests:
            prefix = os.path.relpath(manifest.root, self._base)
            fence = _Fence(manifest.root)
            for row in self._rows(manifest):
                path = self._named(row.path, manifest, prefix)
                if not self._allow_outside and not fence.holds(self._base / path):
                    raise DataError(
                        f"{manifest.place(row.line)}: the path must lead to a file in {shown(str(manifest.root))}, "
                        f"got {row.path!r}, which leads outside it; mend the path or data.root, or set "
                        f"data.allow_outside: true"
                    )
                kept.add(manifest, row, path)
        if not kept.rows:
            raise DataError(f"{shown(str(self._manifests[0].path))}: must name an image, got a header only; add rows")
        return self._listing(kept)

    def _listing(self, kept: _Kept) -> Listing:
        names = sorted_names(kept.labels)
        classes = checked_names(names, f"{shown(str(self._manifests[0].path))}, column of labels")
        index = {name: label for label, name in enumerate(names)}
        labels = [index[name] for name in kept.labels]
        splits, remarks = self._splits(kept)
        samples, refused = [], {}
        for path, row in kept.rows.items():
            reason = _why_refused(self._base / path)
            if reason is None:
                samples.append(Sample(path, labels[kept.label[row]], splits[row], kept.groups[kept.group[row]]))
            else:
                refused[path] = reason
        remarks += kept.remarks()
        if strange := sum("\\" in path for path in refused):
            remarks.append(rf"{strange} paths that were not found hold a \, which does not separate folders; write /")
        return Listing(classes, samples, refused=refused, remarks=remarks)

    def _splits(self, kept: _Kept) -> tuple[list[str | None], list[str]]:
        """The split of each row, and what there is to remark on it."""
        if not kept.has_splits and self._path.is_dir():
            folders = [SPLIT_NAMES.get(path.split("/", 1)[0].lower()) if "/" in path else None for path in kept.rows]
            if None not in folders:
                return folders, ["the splits are those of the folders that the paths begin with"]
        names = (None, *SPLITS)
        return [names[number] for number in kept.split], []

    def _named(self, path: str, manifest: _Manifest, prefix: str) -> str:
        """The path of a sample."""
        text = os.path.normpath(path)
        if not text.startswith("/"):
            return text if prefix == "." else os.path.normpath(f"{prefix}/{text}")
        inside = text.startswith(f"{manifest.root.absolute()}/")
        return os.path.relpath(text, self._base.absolute()) if inside else text

    def _rows(self, manifest: _Manifest) -> Iterator[_Row]:
        where = shown(str(manifest.path))
        try:
            file = manifest.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
        except OSError as error:
            raise DataError(f"{where}: cannot be read ({error.strerror}); mend its permissions") from error
        with file:
            lines = _lines(file, manifest)
            before, header = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
            if not header:
                raise DataError(f"{where}: must begin with the names of the columns, got an empty file; add a header")
            delimiter = self._delimiter or _delimiter(header)
            # The line that a record begins at; it can have several, and the reader knows its last.
            begin = before + 1
            try:
                columns = self._columns(_cells(header, delimiter, strict=True), where)
                # Strict: or an open quote would swallow the rest of the file.
                reader = csv.reader(lines, delimiter=delimiter, strict=True)
                begin = before + 2
                for cells in reader:
                    if any(cell.strip() for cell in cells):
                        yield columns.row(cells, begin, manifest)
                    begin = before + 2 + reader.line_num
            except csv.Error as error:
                raise DataError(
                    f"{manifest.place(begin)}: must be cells divided by {delimiter!r}, got a quote that is not closed "
                    f"or not followed by a delimiter ({error}); close it, and double a quote that stands within quotes"
                ) from error

    def _columns(self, names: list[str], where: str) -> _Columns:
        places = {role: self._column(role, chosen, names, where) for role, chosen in self._chosen.items()}
        return _Columns(len(names), **places)

    def _column(self, role: str, chosen: str | None, names: list[str], where: str) -> int:
        """Where the column of a role stands, or -1 if there is none."""
        there = names
        if chosen is None:
            # Nobody has chosen, so "Label" will do for "label".
            there = [name.lower() for name in names]
            chosen = next((name for name in _USUAL[role] if name in there), None)
        elif chosen not in names:
            hint = choices_hint(chosen, {shown(name) for name in names})
            raise DataError(f"data.{role}_column: must be a column of {where}, got {chosen!r}; {hint}")
        if chosen is None and role in _REQUIRED:
            held = ", ".join(repr(shown(name)) for name in names)
            raise DataError(
                f"{where}: the first line must name a column of {role}s, one of {', '.join(_USUAL[role])}, got {held}; "
                f"set data.{role}_column, or data.delimiter if the names are not divided rightly"
            )
        if chosen is None:
            return -1
        if (count := there.count(chosen)) > 1:
            raise DataError(f"{where}: the column {chosen!r} must stand once, got {count}; rename one")
        return there.index(chosen)


class _Kept:
    """The rows, in few bytes each; refuses those that contradict one another."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}  # path -> its place in the arrays
        self.labels: dict[str, int] = {}  # text -> provisional number
        self.groups: list[str | None] = [None]
        self.label, self.split, self.group = array("L"), array("B"), array("L")
        self.has_splits = False
        self._group_numbers: dict[str, int] = {}
        self._manifests: list[_Manifest] = []
        self._manifest, self._line = array("B"), array("L")
        self._repeated = 0
        self._first_repeated = ""

    def add(self, manifest: _Manifest, row: _Row, path: str) -> None:
        """Keep a row.

        Raises:
            DataError: its split is none, or it says other things of an image than an earlier row.
        """
        split = _split_number(manifest, row)
        label = self.labels.setdefault(row.label, len(self.labels))
        group = self._group_number(row.group)
        if path in self.rows:
            self._compare(path, {"label": label, "split": split, "group": group}, manifest.place(row.line))
            return
        if self.rows and self.has_splits != (split > 0):
            here, first = manifest.place(row.line), self._place(0)
            without, other = (here, first) if self.has_splits else (first, here)
            raise DataError(
                f"{without}: must have a split, since there is one at {other}, got an empty cell; fill the column of "
                f"splits for all images or for none"
            )
        self.has_splits = split > 0
        self.rows[path] = len(self.rows)
        self.label.append(label)
        self.split.append(split)
        self.group.append(group)
        if not self._manifests or self._manifests[-1] is not manifest:
            self._manifests.append(manifest)
        self._manifest.append(len(self._manifests) - 1)
        self._line.append(row.line)

    def remarks(self) -> list[str]:
        if not self._repeated:
            return []
        return [f"{self._repeated} rows repeat an earlier one and were left out, the first at {self._first_repeated}"]

    def _group_number(self, name: str) -> int:
        """0 for none, else its place in the groups."""
        if not name:
            return 0
        if name not in self._group_numbers:
            self._group_numbers[name] = len(self.groups)
            self.groups.append(name)
        return self._group_numbers[name]

    def _compare(self, path: str, said: dict[str, int], here: str) -> None:
        first = self.rows[path]
        texts: dict[str, tuple[array[int], Sequence[str | None]]] = {
            "label": (self.label, list(self.labels)),
            "split": (self.split, [None, *SPLITS]),
            "group": (self.group, self.groups),
        }
        for role, (earlier, names) in texts.items():
            if earlier[first] != said[role]:
                raise DataError(
                    f"{here}: an image must have one {role}, got {path!r} with {names[said[role]]!r} here and "
                    f"{names[earlier[first]]!r} at {self._place(first)}; take one line away"
                )
        self._repeated += 1
        self._first_repeated = self._first_repeated or here

    def _place(self, row: int) -> str:
        return self._manifests[self._manifest[row]].place(self._line[row])


def _split_number(manifest: _Manifest, row: _Row) -> int:
    """0 for none, else 1 + its place in SPLITS."""
    split = SPLIT_NAMES.get(row.split.lower())
    if row.split and split is None:
        hint = choices_hint(row.split.lower(), SPLIT_NAMES)
        raise DataError(f"{manifest.place(row.line)}: the split must be a known one, got {row.split!r}; {hint}")
    if manifest.split and split not in (None, manifest.split):
        raise DataError(
            f"{manifest.place(row.line)}: the split must be that of the folder, {manifest.split}, got {row.split!r}; "
            f"mend the line, or move the image"
        )
    split = split or manifest.split
    return 1 + SPLITS.index(split) if split else 0


class _Fence:
    """Whether files lie in a folder, symbolic links followed."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        self._folders: dict[Path, bool] = {}

    def holds(self, path: Path) -> bool:
        folder = path.parent
        inside = self._folders.get(folder)
        if inside is None:
            inside = self._folders[folder] = self._inside(folder)
        return inside and (not _is_link(path) or self._inside(path))

    def _inside(self, path: Path) -> bool:
        real = os.path.realpath(path)
        return real == self._root or real.startswith(f"{self._root.rstrip('/')}/")


def _is_link(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except OSError:
        # Why it cannot be looked at is said of the file itself, later.
        return False


def _why_refused(path: Path) -> Refused | None:
    """Why a file cannot be tried, without opening it: to open a pipe would wait for its writer."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return Refused("not readable", "no such file")
    except OSError as error:
        return Refused("not readable", error.strerror or str(error))
    if stat.S_ISREG(mode):
        return None
    return Refused("not readable", next((words for holds, words in _KINDS if holds(mode)), "is no file"))


def _lines(file: TextIO, manifest: _Manifest) -> Iterator[str]:
    number = 0
    while line := file.readline(_LONGEST):
        number += 1
        if "\0" in line:
            raise DataError(f"{manifest.place(number)}: must be text, got a NUL byte; save the file as CSV in UTF-8")
        if len(line) == _LONGEST:
            raise DataError(
                f"{manifest.place(number)}: must be below {_LONGEST} characters, got more; save the file as CSV"
            )
        yield line


def _cells(line: str, delimiter: str, *, strict: bool) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, strict=strict))]


def _delimiter(header: str) -> str:
    """The one that divides the header into most cells; the comma if none does."""
    return max(_DELIMITERS, key=lambda delimiter: len(_cells(header, delimiter, strict=False)))
