"""Parquet, as the Hugging Face Hub stores data sets of images."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagewright.data.sources import SPLIT_NAMES, Listing, Raw, Refused, Sample
from imagewright.data.sources.labels import checked_names, sorted_names
from imagewright.errors import DataError, choices_hint
from imagewright.names import shown

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

__all__ = ["Parquet"]

_IMAGE_COLUMNS = ("image", "img")
_LABEL_COLUMNS = ("label", "labels", "fine_label")
# Rows that are read at once: images of some MB are usual, labels are small.
_IMAGE_ROWS = 16
_LABEL_ROWS = 65_536
_BUFFER = 1 << 16  # bytes


@dataclass(frozen=True)
class _Table:
    """One file, and which of its columns are meant.

    Attributes:
        path: of the file.
        name: relative to the folder of all files.
        split: of all its images, or None.
        image: name of the column.
        label: name of the column.
        names: of the classes, if the file says them.
    """

    path: Path
    name: str
    split: str | None
    image: str
    label: str
    names: tuple[str, ...] | None


class Parquet:
    """Encoded images and their labels in the columns of one or more Parquet files.

    The image is a struct of ``bytes`` and ``path``, or binary; the label a whole number or text. The names of the
    classes are those of the ``ClassLabel`` in the schema's metadata, else the labels themselves. A file goes with the
    split that its name begins with (``train-00000-of-00001.parquet``, ``test.parquet``), or else that its nearest
    folder is called. Samples are called ``<file>/<row>``, the file relative to the folder.

    Format: https://parquet.apache.org/docs/file-format/. Columns:
    https://huggingface.co/docs/hub/datasets-image#parquet-format and
    https://huggingface.co/docs/datasets/about_dataset_features. Names of files:
    https://huggingface.co/docs/datasets/repository_structure.
    """

    def __init__(self, *, path: str, image_column: str | None, label_column: str | None) -> None:
        """Take the keys; no file is touched.

        Args:
            path: a file, or a folder that is searched for ``*.parquet`` at any depth.
            image_column: name, or None for the only struct with ``bytes``, or else ``image`` or ``img``.
            label_column: name, or None for the first of ``label``, ``labels``, ``fine_label`` that exists.
        """
        self._path = Path(path)
        self._image_column = image_column
        self._label_column = label_column

    def files(self) -> Iterator[Path]:
        """The Parquet files, in the order of their names.

        Raises:
            DataError: there is none.
        """
        where = shown(str(self._path))
        if self._path.is_file():
            yield self._path
            return
        if not self._path.is_dir():
            raise DataError(f"{where}: no such file or folder; set data.path to a .parquet file or their folder")
        found = [
            file
            for file in self._path.rglob("*.parquet")
            # Such as the .cache of the Hub's client.
            if not any(part.startswith(".") for part in file.relative_to(self._path).parts) and file.is_file()
        ]
        if not found:
            raise DataError(f"{where}: must hold *.parquet, got none; set data.path to their folder")
        yield from sorted(found)

    def listing(self) -> Listing:
        """Classes and labels; reads each file as a whole, so that a broken one is found before any work.

        A row without an image is refused as empty, one with a path instead of the bytes as not readable.

        Raises:
            DataError: a file is broken, has not the columns, or an image has no label.
        """
        return self._listed[0]

    def raw(self) -> Iterator[Raw]:
        """The bytes of the images.

        Raises:
            DataError: a file was broken since it was listed.
        """
        _, without = self._listed
        for table in self._tables:
            missing = without[table.name]
            row = 0
            with _opened(table.path) as file:
                for batch in _batches(file, table.path, table.image, _IMAGE_ROWS):
                    for content in _contents(batch.column(0)):
                        if row not in missing:
                            # None only if the file was changed since: no bytes are no image either.
                            yield content.as_py() or b""
                        row += 1

    @functools.cached_property
    def _tables(self) -> list[_Table]:
        files = list(self.files())
        folder = self._path if self._path.is_dir() else self._path.parent
        tables = [self._described(file, file.relative_to(folder)) for file in files]
        first = tables[0]
        for table in tables[1:]:
            for what in ("image", "label", "names"):
                if getattr(table, what) != getattr(first, what):
                    described = "class names" if what == "names" else f"{what} column"
                    raise DataError(
                        f"{shown(table.name)}: must have the {described} of {shown(first.name)}, "
                        f"{_brief(getattr(first, what))}, got {_brief(getattr(table, what))}; "
                        f"keep the files of one data set in the folder"
                    )
        with_split = [table for table in tables if table.split]
        if with_split and len(with_split) < len(tables):
            odd = next(table for table in tables if not table.split)
            raise DataError(
                f"{shown(odd.name)}: must name a split, since {shown(with_split[0].name)} does, got none; call it "
                f"train-..., validation-... or test-..., or take it away"
            )
        return tables

    @functools.cached_property
    def _listed(self) -> tuple[Listing, dict[str, frozenset[int]]]:
        """The listing, and by file the rows that have no image."""
        refused: dict[str, Refused] = {}
        without: dict[str, frozenset[int]] = {}
        numbers: dict[Any, int] = {}
        found: dict[str, array[int]] = {}
        for table in self._tables:
            with _opened(table.path) as file:
                count, lacking = _without_image(file, table)
                values = _labels(file, table)
                found[table.name] = array("L", (numbers.setdefault(value, len(numbers)) for value in values))
            if len(found[table.name]) != count:
                raise DataError(
                    f"{shown(str(table.path))}: must hold as many images as labels, got {count} and "
                    f"{len(found[table.name])}; copy the file again"
                )
            without[table.name] = frozenset(lacking)
            refused |= {_sample_path(table, row): reason for row, reason in lacking.items()}
        if not numbers:
            raise DataError(f"{shown(str(self._path))}: the files hold no row; copy them again")
        classes, labels = self._classes(numbers)
        samples = [
            Sample(_sample_path(table, row), labels[number], table.split)
            for table in self._tables
            for row, number in enumerate(found[table.name])
            if row not in without[table.name]
        ]
        return Listing(classes, samples, refused=refused), without

    def _classes(self, numbers: dict[Any, int]) -> tuple[list[str], list[int]]:
        """Names of the classes, and the label of each provisional number."""
        table = self._tables[0]
        where = f"{shown(table.name)}, column {shown(table.label)}"
        if table.names is not None and not any(isinstance(value, str) for value in numbers):
            return checked_names(table.names, where), list(numbers)
        texts = [str(value).strip() for value in numbers]
        names = sorted_names(texts)
        labels = {name: label for label, name in enumerate(names)}
        return checked_names(names, where), [labels[text] for text in texts]

    def _described(self, path: Path, name: Path) -> _Table:
        """The columns of a file."""
        with _opened(path) as file, _readable(path):
            schema = file.schema_arrow
        image = self._image(schema, path)
        label = self._label(schema, path)
        for column in (image, label):
            _check_column(column, "data.path", schema, path)
        return _Table(path, str(name), _split(name), image, label, _names(schema, label, path))

    def _image(self, schema: pa.Schema, path: Path) -> str:
        usable: dict[str, bool] = {field.name: _is_struct(field.type) for field in schema if _is_image(field.type)}
        structs = [name for name, is_struct in usable.items() if is_struct]
        if self._image_column is not None:
            _check_column(self._image_column, "data.image_column", schema, path)
            if self._image_column not in usable:
                kind = schema.field(self._image_column).type
                raise DataError(
                    f"data.image_column: must be binary or a struct with bytes, got {self._image_column!r} of "
                    f"{shown(str(path))}, {_brief(kind)}; columns: {_columns(schema)}"
                )
            return self._image_column
        if len(structs) == 1:
            return structs[0]
        for name in _IMAGE_COLUMNS:
            if name in usable:
                return name
        raise DataError(
            f"{shown(str(path))}: must have one column of images, a struct with bytes, or binary called image or img; "
            f"set data.image_column; columns: {_columns(schema)}"
        )

    def _label(self, schema: pa.Schema, path: Path) -> str:
        import pyarrow.types as kinds

        label = self._label_column
        if label is not None:
            _check_column(label, "data.label_column", schema, path)
        else:
            label = next((name for name in _LABEL_COLUMNS if schema.names.count(name)), None)
        if label is None:
            raise DataError(
                f"{shown(str(path))}: must have a column {', '.join(_LABEL_COLUMNS[:-1])} or {_LABEL_COLUMNS[-1]}; "
                f"set data.label_column; columns: {_columns(schema)}"
            )
        kind = schema.types[schema.names.index(label)]
        if kinds.is_dictionary(kind):
            kind = kind.value_type
        if not (kinds.is_integer(kind) or _is_text(kind)):
            raise DataError(
                f"{shown(str(path))}, column {shown(label)}: must be whole numbers or text, one label an image, got "
                f"{_brief(kind)}; set data.label_column; columns: {_columns(schema)}"
            )
        return label


def _sample_path(table: _Table, row: int) -> str:
    return f"{table.name}/{row}"


def _split(name: Path) -> str | None:
    """What the name begins with, else the nearest folder that is called as a split."""
    begins = re.split(r"[-_.]", name.name, maxsplit=1)[0]
    for said in (begins, *reversed(name.parts[:-1])):
        if split := SPLIT_NAMES.get(said.lower()):
            return split
    return None


def _names(schema: pa.Schema, label: str, path: Path) -> tuple[str, ...] | None:
    """Names in the metadata that Hugging Face's ``datasets`` writes, if it does."""
    text = (schema.metadata or {}).get(b"huggingface")
    if text is None:
        return None
    try:
        feature = json.loads(text)["info"]["features"].get(label, {})
        names = feature["names"] if feature.get("_type") == "ClassLabel" else None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{shown(str(path))}: the key huggingface of the schema must be the features of the library datasets, got "
            f"{_brief(text)}; write the file with that library"
        ) from error
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(
            f"{shown(str(path))}: the names of column {shown(label)} must be a list of text, got {_brief(names)}; "
            f"write the file with the library datasets"
        )
    return tuple(names)


def _labels(file: pq.ParquetFile, table: _Table) -> Iterator[Any]:
    where = f"{shown(table.name)}, column {shown(table.label)}"
    row = 0
    for batch in _batches(file, table.path, table.label, _LABEL_ROWS):
        with _readable(table.path):
            values = batch.column(0).to_pylist()
        for value in values:
            # -1 is what `datasets` writes for a label that is held back.
            hidden = table.names is not None and value == -1
            if value is None or hidden or (isinstance(value, str) and not value.strip()):
                raise DataError(
                    f"{where}: every image must have a label, got {value!r} in row {row}; leave such rows out, and the "
                    f"whole file if it hides its labels"
                )
            if table.names is not None and not isinstance(value, str) and not 0 <= value < len(table.names):
                raise DataError(
                    f"{where}: must be from 0 to {len(table.names) - 1}, as the file names {len(table.names)} classes, "
                    f"got {value} in row {row}; mend the file"
                )
            yield value
            row += 1


def _without_image(file: pq.ParquetFile, table: _Table) -> tuple[int, dict[int, Refused]]:
    """The number of rows; and row -> why there is no image.

    Reads the images, which takes a small part of the time that decoding them takes. The statistics of the row groups
    would spare that, but pyarrow ends the whole process where they are damaged.
    """
    lacking: dict[int, Refused] = {}
    start = 0
    for batch in _batches(file, table.path, table.image, _IMAGE_ROWS):
        images = batch.column(0)
        contents = _contents(images)
        if contents.null_count:
            missing = (place for place in range(len(contents)) if not contents[place].is_valid)
            lacking |= {start + place: _why_refused(images, place, table.path) for place in missing}
        start += len(contents)
    return start, lacking


def _contents(images: pa.Array) -> pa.Array:
    """The bytes of each image."""
    if not _is_struct(images.type):
        return images
    # Flattened, a missing struct is missing bytes.
    return images.flatten()[images.type.get_field_index("bytes")]


def _why_refused(images: pa.Array, place: int, file: Path) -> Refused:
    """Why an image that has no bytes is left out."""
    with _readable(file):
        image = images[place].as_py()
    path = image.get("path") if image else None
    if path:
        return Refused("not readable", f"the file holds a path and no bytes: {path!r}")
    return Refused("empty", "the row has no image")


def _batches(
    file: pq.ParquetFile, path: Path, column: str, rows: int, group: int | None = None
) -> Iterator[pa.RecordBatch]:
    """Batches of one column; memory for one batch and one page of the file."""
    with _readable(path):
        yield from file.iter_batches(
            batch_size=rows, columns=[column], row_groups=None if group is None else [group], use_threads=False
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow.parquet as pq

    with _readable(path):
        # Buffered without reading ahead: otherwise a whole row group is in memory, which can be the whole file.
        file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True)
    with file:
        yield file


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    # UnicodeDecodeError: a name or text of the file is no UTF-8.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = shown(" ".join(str(error).split()))
        raise DataError(f"{shown(str(path))}: is no whole Parquet file ({reason}); copy the file again") from error


def _check_column(name: str, key: str, schema: pa.Schema, path: Path) -> None:
    count = schema.names.count(name)
    if count != 1:
        hint = choices_hint(name, {shown(column) for column in schema.names})
        raise DataError(f"{key}: {name!r} must be one column of {shown(str(path))}, got {count} of that name; {hint}")


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{shown(field.name)} ({_brief(field.type)})" for field in schema)


def _brief(value: object) -> str:
    text = shown(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(
        kinds.is_binary(kind)
        or kinds.is_large_binary(kind)
        or kinds.is_binary_view(kind)
        or kinds.is_fixed_size_binary(kind)
    )


def _is_struct(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_struct(kind))


def _is_image(kind: pa.DataType) -> bool:
    """Binary, or a struct with binary ``bytes``."""
    if not _is_struct(kind):
        return _is_binary(kind)
    index = kind.get_field_index("bytes")
    return bool(index >= 0 and _is_binary(kind.field(index).type))
