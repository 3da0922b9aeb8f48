"""Sources that read tables and arrays: csv, idx, cifar, npz, parquet."""

from __future__ import annotations

import gc
import gzip
import inspect
import io
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from imagewright.data.sources import Listing, Raw, Refused, Source
from imagewright.data.sources.cifar import Cifar
from imagewright.data.sources.csv import Csv
from imagewright.data.sources.idx import Idx
from imagewright.data.sources.labels import sorted_names
from imagewright.data.sources.npz import Npz
from imagewright.data.sources.parquet import Parquet
from imagewright.errors import DataError

Array = npt.NDArray[Any]


def drawn(*shape: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Bomb:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def message_of(call: Callable[[], object]) -> str:
    """The message of the DataError that it raises, which is one printable line."""
    with pytest.raises(DataError) as raised:
        call()
    message = str(raised.value)
    assert message.isprintable()
    return message


def named(listing: Listing) -> dict[str, str]:
    """Path -> name of the class."""
    return {sample.path: listing.classes[sample.label] for sample in listing.samples}


def splits_of(listing: Listing) -> dict[str, str | None]:
    return {sample.path: sample.split for sample in listing.samples}


def peak(run: Callable[[], object]) -> int:
    """Most bytes of Python and NumPy at once."""
    gc.collect()
    tracemalloc.start()
    run()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


def paths(source: Source) -> list[Path]:
    """The files of a source of files."""
    return [Path(raw) for raw in source.raw() if isinstance(raw, str)]


def drain(images: Iterator[Raw]) -> int:
    return sum(1 for _ in images)


# --- names of classes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["10", "9", "a"], ["10", "9", "a"]),
        (["b", "a", "b"], ["a", "b"]),
        (["-1", "+2", "0"], ["-1", "0", "+2"]),
        (["1.5", "10", "2"], ["1.5", "10", "2"]),
        (["9" * 5000, "1"], ["1", "9" * 5000]),
    ],
)
def test_names_are_sorted_as_numbers_if_all_are_whole_and_otherwise_as_text(
    names: list[str], expected: list[str]
) -> None:
    assert sorted_names(names) == expected


# --- csv --------------------------------------------------------------------------------------------------------------

KEYS: dict[str, Any] = {
    "path_column": None,
    "label_column": None,
    "split_column": None,
    "group_column": None,
    "root": None,
    "allow_outside": False,
    "delimiter": None,
}


def csv_source(path: Path, **keys: Any) -> Csv:
    return Csv(path=str(path), **(KEYS | keys))


def table(folder: Path, content: str | bytes, images: Sequence[str | bytes] = (), name: str = "labels.csv") -> Path:
    """A manifest, and files of these names beside it, each with its own name as content."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in images:
        file = folder / os.fsdecode(image)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.fsencode(image))
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / name


def test_a_table_gives_paths_labels_splits_and_groups_and_raw_the_files_in_that_order(tmp_path: Path) -> None:
    manifest = table(
        tmp_path,
        "group,path,split,label\np1,b/2.png,train,dog\n,a/1.png,VAL, cat \np1,3.png,Testing,dog\n",
        ["b/2.png", "a/1.png", "3.png"],
    )
    source = csv_source(manifest)
    listing = source.listing()
    assert listing.classes == ["cat", "dog"]
    rows = [(sample.path, sample.label, sample.split, sample.group) for sample in listing.samples]
    assert rows == [
        ("b/2.png", 1, "train", "p1"),
        ("a/1.png", 0, "validation", None),
        ("3.png", 1, "test", "p1"),
    ]
    assert [path.read_text() for path in paths(source)] == [sample.path for sample in listing.samples]
    assert set(source.files()) == {manifest, *(tmp_path / sample.path for sample in listing.samples)}
    assert not listing.refused
    assert not listing.remarks


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbffile_name,label\na b.png,x\n",
        b"file_name;label\r\na b.png;x\r\n",
        b"file_name\tlabel\ra b.png\tx\r",
        b"\n\nid,file_name,label\n1,a b.png,x\n\n,,\n",
        b'"file_name","label"\n"a b.png","x"\n',
        b' Filename , Class ,"note; more"\na b.png,x,"two\nlines"\n',
        b"image,category,\na b.png,x,\n",
    ],
)
def test_the_dialects_of_csv_read_alike(tmp_path: Path, content: bytes) -> None:
    assert named(csv_source(table(tmp_path, content, ["a b.png"])).listing()) == {"a b.png": "x"}


@pytest.mark.parametrize(
    "name", ["größe 1.png", "画像.png", 'in "quotes", and comma.png', " leading.png", "two\nlines.png"]
)
def test_names_of_any_script_and_with_quotes_are_found(tmp_path: Path, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    listing = csv_source(table(tmp_path, f"path,label\n{quoted},größe\n", [name])).listing()
    assert named(listing) == {name: "größe"}


def test_bytes_that_are_no_utf8_name_their_file(tmp_path: Path) -> None:
    source = csv_source(table(tmp_path, b"path,label\n\xff\xe9.png,caf\xe9\n", [b"\xff\xe9.png"]))
    (sample,) = source.listing().samples
    assert os.fsencode(sample.path) == b"\xff\xe9.png"
    assert source.listing().classes == ["caf\\xe9"]
    assert [raw.read_bytes() for raw in paths(source)] == [b"\xff\xe9.png"]


def test_labels_that_are_numbers_are_sorted_as_numbers(tmp_path: Path) -> None:
    manifest = table(tmp_path, "path,label\na,10\nb,9\nc,1\n", ["a", "b", "c"])
    assert csv_source(manifest).listing().classes == ["1", "9", "10"]


def test_columns_delimiter_and_root_are_those_that_are_chosen(tmp_path: Path) -> None:
    manifest = table(tmp_path / "tables", "path|where|what|fold|who\nx|1.png|cat|test|anna\n")
    table(tmp_path / "images", "", ["1.png"])
    source = csv_source(
        manifest,
        path_column="where",
        label_column="what",
        split_column="fold",
        group_column="who",
        root="../images",
        delimiter="|",
    )
    (sample,) = source.listing().samples
    assert (sample.path, sample.split, sample.group) == ("1.png", "test", "anna")
    assert paths(source) == [tmp_path / "images" / "1.png"]


def test_a_folder_with_metadata_csv_reads_as_hugging_faces_imagefolder(tmp_path: Path) -> None:
    table(tmp_path, "file_name,label\n1.png,a\nsub/2.png,b\n", ["1.png", "sub/2.png"], "metadata.csv")
    assert splits_of(csv_source(tmp_path).listing()) == {"1.png": None, "sub/2.png": None}


def test_split_folders_with_a_metadata_csv_each_give_the_splits(tmp_path: Path) -> None:
    for folder in ("train", "val", "test"):
        table(tmp_path / folder, "file_name,label\n1.png,a\n", ["1.png"], "metadata.csv")
    source = csv_source(tmp_path)
    assert splits_of(source.listing()) == {
        "test/1.png": "test",
        "train/1.png": "train",
        "val/1.png": "validation",
    }
    assert [raw.parent.name for raw in paths(source)] == ["test", "train", "val"]
    assert len(set(source.files())) == 6


def test_one_metadata_csv_takes_the_splits_from_the_folders_that_all_paths_begin_with(tmp_path: Path) -> None:
    images = ["train/1.png", "test/1.png"]
    table(tmp_path, "file_name,label\ntrain/1.png,a\ntest/1.png,a\n", images, "metadata.csv")
    listing = csv_source(tmp_path).listing()
    assert splits_of(listing) == {"train/1.png": "train", "test/1.png": "test"}
    assert "folders" in listing.remarks[0]
    table(tmp_path, "file_name,label\ntrain/1.png,a\ntest/1.png,a\n2.png,a\n", ["2.png"], "metadata.csv")
    assert set(splits_of(csv_source(tmp_path).listing()).values()) == {None}


def test_an_image_that_is_named_twice_in_the_same_way_is_used_once_with_a_remark(tmp_path: Path) -> None:
    listing = csv_source(table(tmp_path, "path,label\na.png,x\nb.png,y\n./a.png,x\n", ["a.png", "b.png"])).listing()
    assert named(listing) == {"a.png": "x", "b.png": "y"}
    assert any("1 rows repeat" in remark and "line 4" in remark for remark in listing.remarks)


def test_files_that_are_missing_or_no_files_are_refused_and_never_opened(tmp_path: Path) -> None:
    manifest = table(
        tmp_path,
        "path,label\ngone.png,a\npipe,a\nfolder,b\ngood.png,a\ngood.png/x,a\nloop,a\nwin\\1.png,c\n",
        ["good.png"],
    )
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    source = csv_source(manifest)
    listing = source.listing()
    assert [sample.path for sample in listing.samples] == ["good.png"]
    missing = Refused("not readable", "no such file")
    assert listing.refused == {
        "gone.png": missing,
        "good.png/x": missing,
        "win\\1.png": missing,
        "pipe": Refused("not readable", "is a pipe"),
        "folder": Refused("not readable", "is a folder"),
        "loop": Refused("not readable", os.strerror(40)),
    }
    assert listing.classes == ["a", "b", "c"]
    assert any("1 paths" in remark and "\\" in remark for remark in listing.remarks)
    assert paths(source) == [tmp_path / "good.png"]
    assert list(source.files()) == [manifest, tmp_path / "good.png"]


@pytest.mark.parametrize("way", ["../secret.png", "/absolute", "x/../../secret.png", "link.png", "linked/secret.png"])
def test_a_path_that_leads_outside_the_root_is_refused_unless_it_is_allowed(tmp_path: Path, way: str) -> None:
    (tmp_path / "secret.png").write_text("secret")
    root = tmp_path / "data"
    path = way.replace("/absolute", str(tmp_path / "secret.png"))
    manifest = table(root, f"path,label\ninside.png,a\n{path},b\n", ["inside.png"])
    (root / "link.png").symlink_to(tmp_path / "secret.png")
    (root / "linked").symlink_to(tmp_path)
    message = message_of(csv_source(manifest).listing)
    assert message.startswith(f"{manifest}, line 3: ")
    assert repr(path) in message
    assert "data.allow_outside" in message
    assert message == message_of(lambda: list(csv_source(manifest).files()))
    allowed = csv_source(manifest, allow_outside=True)
    assert [raw.read_text() for raw in paths(allowed)] == ["inside.png", "secret"]


def test_links_and_absolute_paths_that_stay_inside_are_taken(tmp_path: Path) -> None:
    manifest = table(tmp_path, f"path,label\n{tmp_path}/a.png,x\nlink.png,x\nsub/../b.png,y\n", ["a.png", "b.png"])
    (tmp_path / "link.png").symlink_to("a.png")
    assert named(csv_source(manifest).listing()) == {"a.png": "x", "link.png": "x", "b.png": "y"}


def test_a_folder_whose_name_begins_like_the_root_is_outside(tmp_path: Path) -> None:
    table(tmp_path / "data2", "", ["1.png"])
    manifest = table(tmp_path / "data", "path,label\n../data2/1.png,a\n")
    assert "allow_outside" in message_of(csv_source(manifest).listing)


@pytest.mark.parametrize(
    ("content", "keys", "words"),
    [
        (b"", {}, ["must begin with the names of the columns"]),
        (b"path,label\n", {}, ["must name an image"]),
        (
            b"a.png,cat\n",
            {},
            ["column of paths", "path, file_name, filename, image", "'a.png', 'cat'", "data.path_column"],
        ),
        (b"path,text\na.png,x\n", {}, ["column of labels", "label, class, category", "data.label_column"]),
        (b"path,label\na.png,x\n", {"path_column": "pth"}, ["data.path_column", "'pth'", "did you mean 'path'"]),
        (b"path,label\na.png,x\n", {"label_column": "lab"}, ["data.label_column", "did you mean 'label'"]),
        (b"path,label\na.png,x\n", {"split_column": "fold"}, ["data.split_column", "'fold'"]),
        (b"path,label\na.png,x\n", {"group_column": "fold"}, ["data.group_column", "'fold'"]),
        (b"path,label\na.png,x\n", {"root": "nowhere"}, ["data.root", "'nowhere'"]),
        (b"path,path,label\na.png,a.png,x\n", {}, ["'path' must stand once, got 2"]),
        (b"path,label\n\na.png, \n", {}, ["line 3", "label", "empty"]),
        (b"path,label\na.png,x\n,x\n", {}, ["line 3", "path", "empty"]),
        (b"path,label\na.png\n", {}, ["line 2", "2 cells", "got 1"]),
        (b"path,label\na, b.png,x\n", {}, ["line 2", "2 cells", "got 3", "quotes"]),
        (b"path,label\na\0.png,x\n", {}, ["line 2", "NUL"]),
        ("path,label\na.png,x\n".encode("utf-16"), {}, ["line 1", "UTF-8"]),
        (b'path,label\na.png,x\n"two\nlines",x\n"b.png,x\nc.png,x\n', {}, ["line 5", "quote that is not closed"]),
        (b'path,label\n"a"b.png,x\n', {}, ["line 2", "quote"]),
        (b'path,"label\na.png,x\n', {}, ["line 1", "quote"]),
        (b'path,label\n"a.png,x\n' + b"b.png,x\n" * 20_000, {}, ["line 2", "quote that is not closed"]),
        (b"x" * (1 << 20) + b"\npath,label\n", {}, ["line 1", "must be below 1048576 characters"]),
        (b"path,label,split\na.png,x,train\nb.png,x,tset\n", {}, ["line 3", "'tset'", "did you mean 'test'"]),
        (b"path,label,split\na.png,x,train\nb.png,x,\n", {}, ["line 3", "must have a split", "line 2"]),
        (b"path,label,split\na.png,x,\nb.png,x,test\n", {}, ["line 2: must have a split", "line 3"]),
        (b"path,label\na.png,x\nb.png,x\n./a.png,y\n", {}, ["line 4", "line 2", "one label", "'x'", "'y'", "'a.png'"]),
        (b"path,label,split\na,x,train\na,x,test\n", {}, ["line 3", "line 2", "one split", "'train'", "'test'"]),
        (b"path,label,group\na,x,1\na,x,\n", {}, ["line 3", "line 2", "one group", "'1'", "None"]),
    ],
)
def test_a_broken_table_is_refused_with_its_place_and_rule(
    tmp_path: Path, content: bytes, keys: dict[str, Any], words: list[str]
) -> None:
    manifest = table(tmp_path, content, ["a.png", "b.png"])
    message = message_of(csv_source(manifest, **keys).listing)
    assert str(tmp_path) in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, ["no such file or folder"]),
        ({"other.csv": "", "x.txt": ""}, ["metadata.csv", "got other.csv;"]),
        ({"metadata.csv": "", "test/metadata.csv": ""}, ["got metadata.csv and test/metadata.csv"]),
        (
            {"train/metadata.csv": "file_name,label,split\na,x,test\n"},
            ["train/metadata.csv, line 2", "the split must be that of the folder, train, got 'test'"],
        ),
    ],
)
def test_a_folder_without_one_clear_table_is_refused(tmp_path: Path, files: dict[str, str], words: list[str]) -> None:
    for name, content in files.items():
        table((tmp_path / "raw" / name).parent, content, name=Path(name).name)
    message = message_of(csv_source(tmp_path / "raw").listing)
    assert message.startswith(str(tmp_path / "raw"))
    for word in words:
        assert word in message


def test_a_row_of_a_large_table_costs_a_kilobyte_at_the_most_while_it_is_read(tmp_path: Path) -> None:
    def most(count: int) -> int:
        lines = "".join(f"images/class_{row % 10}/{row:08d}.png,class_{row % 10}\n" for row in range(count))
        manifest = table(tmp_path, f"path,label\n{lines}", name=f"{count}.csv")
        return peak(csv_source(manifest).listing)

    most(100)  # Imports.
    assert (most(6000) - most(2000)) / 4000 < 1024 * 1.5


# --- idx --------------------------------------------------------------------------------------------------------------


def idx_source(folder: Path, *, classes: Sequence[str] | None = None, transpose: bool = False) -> Idx:
    return Idx(path=str(folder), classes=classes, transpose=transpose)


def idx_bytes(array: Array) -> bytes:
    code = {"u1": 8, "i1": 9, "i2": 0xB, "i4": 0xC, "f4": 0xD, "f8": 0xE}[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(folder: Path, name: str, array: Array) -> None:
    folder.mkdir(exist_ok=True)
    content = idx_bytes(array)
    (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


# Of images and labels for training, images and labels for test.
NAMES = {
    "mnist": "train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz "
    "t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz",
    "points": "train-images.idx3-ubyte train-labels.idx1-ubyte t10k-images.idx3-ubyte t10k-labels.idx1-ubyte",
    "emnist": "emnist-letters-train-images-idx3-ubyte emnist-letters-train-labels-idx1-ubyte "
    "emnist-letters-test-images-idx3-ubyte.gz emnist-letters-test-labels-idx1-ubyte.gz",
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_the_images_and_labels_of_idx_files_are_those_that_were_written(tmp_path: Path, names: str) -> None:
    train, test = drawn(30, 5, 7), drawn(12, 5, 7, seed=1)
    labels = np.arange(42, dtype=np.uint8) % 11
    for name, array in zip(names.split(), (train, labels[:30], test, labels[30:]), strict=True):
        write_idx(tmp_path, name, array)
    source = idx_source(tmp_path)
    listing = source.listing()
    assert listing.classes == [str(label) for label in range(11)]
    assert [sample.label for sample in listing.samples] == labels.tolist()
    assert Counter(sample.split for sample in listing.samples) == {"train": 30, "test": 12}
    assert (listing.samples[0].path, listing.samples[-1].path) == ("train/00000", "test/00011")
    np.testing.assert_array_equal(np.stack([*map(np.asarray, source.raw())]), np.concatenate([train, test]))
    assert {file.name for file in source.files()} == set(names.split())
    assert bool(listing.remarks) == ("emnist" in names)


def test_transposed_images_have_rows_and_columns_exchanged(tmp_path: Path) -> None:
    images = drawn(4, 5, 7)
    write_idx(tmp_path, "emnist-digits-train-images-idx3-ubyte", images)
    write_idx(tmp_path, "emnist-digits-train-labels-idx1-ubyte", np.zeros(4, np.uint8))
    source = idx_source(tmp_path, transpose=True)
    np.testing.assert_array_equal(np.stack([*map(np.asarray, source.raw())]), images.transpose(0, 2, 1))
    assert not source.listing().remarks


@pytest.mark.parametrize("kind", [np.int16, np.float32, np.float64])
def test_big_endian_numbers_of_other_types_keep_their_values(tmp_path: Path, kind: type[Any]) -> None:
    images = (drawn(3, 4, 4).astype(np.int32) - 100).astype(kind)
    write_idx(tmp_path, "train-images-idx3-ubyte", images)
    write_idx(tmp_path, "train-labels-idx1-int", np.array([2, 0, 1], np.int32))
    source = idx_source(tmp_path, classes=["a", "b", "c", "d"])
    raws = [*map(np.asarray, source.raw())]
    assert raws[0].dtype == np.dtype(kind)
    np.testing.assert_array_equal(np.stack(raws), images)
    assert [*named(source.listing()).values()] == ["c", "a", "b"]


def test_a_packed_file_beside_its_unpacked_self_is_not_read_and_remarked(tmp_path: Path) -> None:
    pair(tmp_path)
    write_idx(tmp_path, "train-images-idx3-ubyte.gz", drawn(9, 2, 2))
    source = idx_source(tmp_path)
    assert len(source.listing().samples) == drain(source.raw()) == 6
    assert source.listing().remarks == ["train-images-idx3-ubyte.gz was not read: its unpacked file lies beside it"]


def pair(folder: Path, *, images: bytes | None = None, labels: bytes | None = None) -> None:
    """A right pair of 6 images, or other contents in its place."""
    (folder / "train-images-idx3-ubyte").write_bytes(idx_bytes(drawn(6, 4, 4)) if images is None else images)
    right = np.array([0, 1, 2, 0, 1, 2], np.uint8)
    (folder / "train-labels-idx1-ubyte").write_bytes(idx_bytes(right) if labels is None else labels)


PACKED = gzip.compress(idx_bytes(drawn(6, 4, 4)))


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"images": b""}, ["images-idx3-ubyte: ", "must begin with 0x00000803, got 0x;"]),
        ({"images": b"<html>"}, ["must begin with 0x00000803, got 0x3c68746d"]),
        ({"images": idx_bytes(drawn(6))}, ["must begin with 0x00000803, got 0x00000801"]),
        ({"labels": idx_bytes(drawn(6, 4, 4))}, ["labels-idx1-ubyte: ", "must begin with 0x00000801, got 0x00000803"]),
        ({"images": b"\0\0\x07\x03" + bytes(100)}, ["got 0x00000703"]),
        ({"images": idx_bytes(drawn(6, 4, 4))[:10]}, ["ends within its header"]),
        ({"images": idx_bytes(drawn(6, 4, 4))[:-1]}, ["must hold 96 bytes after its header", "got 95"]),
        ({"images": idx_bytes(drawn(6, 4, 4)) + b"x"}, ["must hold 96 bytes after its header", "got more"]),
        ({"images": idx_bytes(drawn(6, 0, 4))}, ["must have pixels, got 0x4"]),
        ({"images": PACKED[:-20]}, ["cannot be unpacked"]),
        ({"images": PACKED[:40] + b"\xff\xff" + PACKED[42:]}, ["images-idx3-ubyte: "]),
        ({"labels": idx_bytes(drawn(5))}, ["labels-idx1-ubyte: ", "each of the 6 images", "got 5"]),
        ({"labels": idx_bytes(np.zeros(6, np.float32))}, ["must be whole numbers, got float32"]),
        ({"labels": idx_bytes(np.array([0, 1, -3, 0, 0, 0], np.int8))}, ["0 or more, got -3 for image 2"]),
        ({"labels": idx_bytes(np.full(6, 1 << 30, np.int32))}, ["must be below 100000, got 1073741824"]),
        ({"images": idx_bytes(drawn(0, 4, 4)), "labels": idx_bytes(drawn(0))}, ["hold no image"]),
    ],
)
def test_a_broken_idx_file_is_refused_with_its_place_and_rule(
    tmp_path: Path, contents: dict[str, bytes], words: list[str]
) -> None:
    pair(tmp_path, **contents)
    message = message_of(idx_source(tmp_path).listing)
    assert message.startswith(str(tmp_path))
    for word in words:
        assert word in message


def test_a_small_packed_file_that_unpacks_to_a_large_one_is_refused_in_little_memory(tmp_path: Path) -> None:
    pair(tmp_path, images=gzip.compress(idx_bytes(drawn(6, 4, 4)) + bytes(200_000_000)))
    assert peak(lambda: message_of(idx_source(tmp_path).listing)) < 5_000_000


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, ["no such folder"]),
        ([], ["must hold a pair such as", "got nothing"]),
        (["readme.txt"], ["got readme.txt"]),
        (["train-images-idx3-ubyte"], ["train-images-idx3-ubyte: its file of labels is missing"]),
        (["t10k-labels-idx1-ubyte.gz"], ["t10k-labels-idx1-ubyte.gz: its file of images is missing"]),
        (
            ["emnist-letters-train-images-idx3-ubyte", "emnist-digits-train-images-idx3-ubyte"],
            ["one file of train images", "emnist-digits-train-images-idx3-ubyte and emnist-letters-train"],
        ),
    ],
)
def test_a_folder_without_clear_pairs_of_idx_files_is_refused(
    tmp_path: Path, files: list[str] | None, words: list[str]
) -> None:
    folder = tmp_path / "raw"
    if files is not None:
        folder.mkdir()
        for name in files:
            (folder / name).touch()
    message = message_of(lambda: list(idx_source(folder).files()))
    assert message.startswith(str(folder))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["a", "b"], ["data.classes", "got 2 names and the label 2"]),
        (["a", " ", "c"], ["data.classes", "class 1 is empty"]),
        (["a", "b", "a"], ["data.classes", "'a' for the classes 0 and 2"]),
    ],
)
def test_names_that_do_not_fit_the_labels_are_refused(tmp_path: Path, classes: list[str], words: list[str]) -> None:
    pair(tmp_path)
    np.savez(tmp_path / "a.npz", images=drawn(3, 4, 4), labels=np.arange(3))
    for source in (idx_source(tmp_path, classes=classes), npz_source(tmp_path / "a.npz", classes=classes)):
        message = message_of(source.listing)
        for word in words:
            assert word in message


def test_the_memory_for_packed_idx_images_does_not_grow_with_their_number(tmp_path: Path) -> None:
    def most(count: int) -> int:
        folder = tmp_path / str(count)
        write_idx(folder, "train-images-idx3-ubyte.gz", drawn(count, 28, 28))
        write_idx(folder, "train-labels-idx1-ubyte.gz", np.zeros(count, np.uint8))
        return peak(lambda: drain(idx_source(folder).raw()))

    most(10)
    assert most(8000) <= 1.2 * most(2000)


# --- cifar ------------------------------------------------------------------------------------------------------------


def cifar_source(folder: Path, labels: str = "fine") -> Cifar:
    return Cifar(path=str(folder), labels=labels)


CIFAR10 = {**{f"data_batch_{number}.bin": 3 for number in range(1, 6)}, "test_batch.bin": 4}
CIFAR100 = {"train.bin": 300, "test.bin": 5}


def write_cifar(folder: Path, sizes: dict[str, int]) -> tuple[list[list[int]], Array]:
    """Labels and images (N, 32, 32, 3) of what is written, record by record."""
    folder.mkdir(exist_ok=True)
    counts = [10] if sizes is CIFAR10 else [20, 100]
    labels, images = [], []
    for seed, (name, size) in enumerate(sizes.items()):
        pixels = drawn(size, 32, 32, 3, seed=seed)
        with (folder / name).open("wb") as file:
            for row in range(size):
                labels.append([(row * 7 + seed) % count for count in counts])
                file.write(bytes(labels[-1]))
                for channel in range(3):
                    file.write(pixels[row, :, :, channel].tobytes())
        images.append(pixels)
    if sizes is CIFAR10:
        (folder / "batches.meta.txt").write_text("".join(f"ten{label}\n" for label in range(10)) + "\n")
    else:
        (folder / "fine_label_names.txt").write_text("".join(f"fine{label}\n" for label in range(100)))
        (folder / "coarse_label_names.txt").write_text("".join(f"coarse{label}\n" for label in range(20)))
    return labels, np.concatenate(images)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar_10_reads_as_it_was_written(tmp_path: Path, inner: str) -> None:
    labels, images = write_cifar(tmp_path / inner, CIFAR10)
    source = cifar_source(tmp_path)
    listing = source.listing()
    assert listing.classes == [f"ten{label}" for label in range(10)]
    assert [[sample.label] for sample in listing.samples] == labels
    assert Counter(sample.split for sample in listing.samples) == {"train": 15, "test": 4}
    assert [listing.samples[row].path for row in (0, 14, 15)] == ["train/00000", "train/00014", "test/00000"]
    np.testing.assert_array_equal(np.stack([*map(np.asarray, source.raw())]), images)
    assert {file.name for file in source.files()} == {*CIFAR10, "batches.meta.txt"}


@pytest.mark.parametrize(("kind", "column"), [("coarse", 0), ("fine", 1)])
def test_cifar_100_reads_as_it_was_written_with_the_chosen_labels(tmp_path: Path, kind: str, column: int) -> None:
    labels, images = write_cifar(tmp_path, CIFAR100)
    source = cifar_source(tmp_path, kind)
    listing = source.listing()
    assert listing.classes == [f"{kind}{label}" for label in range((20, 100)[column])]
    assert [sample.label for sample in listing.samples] == [label[column] for label in labels]
    assert [sample.split for sample in listing.samples] == ["train"] * 300 + ["test"] * 5
    np.testing.assert_array_equal(np.stack([*map(np.asarray, source.raw())]), images)
    assert {file.name for file in source.files()} == {*CIFAR100, f"{kind}_label_names.txt"}


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("data_batch_1", "cifar-10-binary.tar.gz"),
        ("batches.meta", "cifar-10-binary.tar.gz"),
        ("train", "cifar-100-binary.tar.gz"),
        ("meta", "cifar-100-binary.tar.gz"),
    ],
)
def test_the_python_version_is_refused_without_unpickling_and_the_right_download_named(
    tmp_path: Path, name: str, archive: str
) -> None:
    mark = tmp_path / "executed"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
    message = message_of(cifar_source(tmp_path).listing)
    assert f"holds {name} of the Python version" in message
    assert archive in message
    assert "https://www.cs.toronto.edu/~kriz/cifar.html" in message
    assert not mark.exists()


def rewrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("break_it", "labels", "words"),
    [
        (rewrite("data_batch_2.bin", bytes(3072)), "fine", ["data_batch_2.bin", "multiple of 3073 bytes", "got 3072"]),
        (rewrite("data_batch_2.bin", bytes(3073) + b"\x0a" + bytes(3072)), "fine", ["from 0 to 9, got 10 in record 1"]),
        (lambda folder: (folder / "data_batch_4.bin").unlink(), "fine", ["must be whole, missing data_batch_4.bin"]),
        (lambda folder: (folder / "batches.meta.txt").unlink(), "fine", ["missing batches.meta.txt"]),
        (rewrite("batches.meta.txt", b"a\nb\n"), "fine", ["batches.meta.txt", "10 names", "got 2"]),
        (rewrite("batches.meta.txt", b"a\n" * 10), "fine", ["each name must stand once, got 'a'"]),
        (rewrite("batches.meta.txt", b"\xff\n" * 10), "fine", ["batches.meta.txt: is no list of names"]),
        (lambda folder: [(folder / name).write_bytes(b"") for name in CIFAR10], "fine", ["hold no image"]),
        (lambda folder: write_cifar(folder, CIFAR100), "fine", ["one data set", "CIFAR-10 in", "CIFAR-100 in"]),
        (lambda folder: None, "coarse", ["data.labels", "CIFAR-10 has fine labels only, got coarse"]),
        (lambda folder: None, "fien", ["data.labels", "'fien'", "did you mean 'fine'"]),
    ],
)
def test_a_broken_cifar_is_refused_with_its_place_and_rule(
    tmp_path: Path, break_it: Callable[[Path], object], labels: str, words: list[str]
) -> None:
    write_cifar(tmp_path, CIFAR10)
    break_it(tmp_path)
    message = message_of(cifar_source(tmp_path, labels).listing)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (None, ["no such folder"]),
        ("", ["data_batch_1.bin", "train.bin", "got nothing"]),
        ("train/", ["got train;"]),
        ("cifar-10-binary.tar.gz", ["packed", "tar -xzf cifar-10-binary.tar.gz"]),
        ("cifar-10-batches-py/", ["Python version of CIFAR-10"]),
    ],
)
def test_a_folder_without_cifar_is_refused_with_what_to_do(tmp_path: Path, entry: str | None, words: list[str]) -> None:
    folder = tmp_path / "raw"
    if entry is not None:
        (folder / entry if entry.endswith("/") else folder).mkdir(parents=True)
    if entry and not entry.endswith("/"):
        (folder / entry).touch()
    message = message_of(lambda: list(cifar_source(folder).files()))
    assert message.startswith(str(folder))
    for word in words:
        assert word in message


# --- npz --------------------------------------------------------------------------------------------------------------


def npz_source(file: Path, *, classes: Sequence[str] | None = None) -> Npz:
    return Npz(path=str(file), classes=classes)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
def test_a_file_of_medmnist_reads_as_it_was_written(
    tmp_path: Path, save: Callable[..., None], shape: tuple[int, ...]
) -> None:
    parts = {"train": drawn(9, *shape), "val": drawn(4, *shape, seed=1), "test": drawn(5, *shape, seed=2)}
    labels = {name: (np.arange(len(part)) % 4)[:, None].astype(np.uint8) for name, part in parts.items()}
    arrays = {f"{name}_images": part for name, part in parts.items()}
    save(tmp_path / "a.npz", **arrays, **{f"{name}_labels": part for name, part in labels.items()})
    source = npz_source(tmp_path / "a.npz", classes=["p", "q", "r", "s"])
    listing = source.listing()
    assert listing.classes == ["p", "q", "r", "s"]
    assert Counter(sample.split for sample in listing.samples) == {"train": 9, "validation": 4, "test": 5}
    assert [sample.label for sample in listing.samples] == np.concatenate([*labels.values()])[:, 0].tolist()
    assert listing.samples[9].path == "validation/00000"
    np.testing.assert_array_equal(np.stack([*map(np.asarray, source.raw())]), np.concatenate([*parts.values()]))
    assert list(source.files()) == [tmp_path / "a.npz"]


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<f4", ">f8", "<i8"])
def test_arrays_without_splits_keep_the_values_of_every_number_type(tmp_path: Path, kind: str) -> None:
    images = drawn(5, 4, 4).astype(kind)
    np.savez(tmp_path / "a.npz", images=images, labels=np.array([3, 0, 1, 1, 0]), more=np.array([object()]))
    source = npz_source(tmp_path / "a.npz")
    listing = source.listing()
    assert listing.classes == ["0", "1", "2", "3"]
    assert [(sample.path, sample.split) for sample in listing.samples][:2] == [
        ("images/00000", None),
        ("images/00001", None),
    ]
    raws = [*map(np.asarray, source.raw())]
    assert raws[0].dtype == np.dtype(kind).newbyteorder("=")
    np.testing.assert_array_equal(np.stack(raws), images)


GOOD: dict[str, Any] = {"images": drawn(6, 4, 4), "labels": np.arange(6) % 3}


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": GOOD["images"]}, ["must hold train_images", "got x_train;"]),
        ({"images": GOOD["images"]}, ["must hold images and labels, got images; add labels"]),
        ({"val_labels": GOOD["labels"]}, ["must hold val_images and val_labels, got val_labels; add val_images"]),
        (GOOD | {"test_images": GOOD["images"]}, ["must hold train_images", "got images, labels, test_images"]),
        (
            GOOD | {"labels": np.zeros((6, 14), int)},
            ["labels: must be one label an image", "(6, 14)", "14 labels each"],
        ),
        (GOOD | {"labels": np.zeros(5, int)}, ["labels: must have the shape (6,) or (6, 1)", "got (5,)"]),
        (GOOD | {"labels": np.zeros((6, 1, 1), int)}, ["got (6, 1, 1)"]),
        (GOOD | {"labels": np.zeros(6)}, ["labels: must be whole numbers, got float64"]),
        (GOOD | {"labels": np.array(["a"] * 6)}, ["labels: must be whole numbers, got <U1"]),
        (GOOD | {"labels": np.array([0, 0, -1, 0, 0, 0])}, ["labels: labels must be 0 or more, got -1 for image 2"]),
        (GOOD | {"labels": np.full(6, 10**12)}, ["must be below 100000, got 1000000000000"]),
        (GOOD | {"images": drawn(6, 28, 28, 28)}, ["images: must have the shape", "got (6, 28, 28, 28)", "volumes"]),
        (GOOD | {"images": drawn(6, 16)}, ["images: must have the shape", "got (6, 16)"]),
        (GOOD | {"images": drawn(6, 0, 4)}, ["images: must have the shape", "got (6, 0, 4)"]),
        (
            GOOD | {"images": np.asfortranarray(GOOD["images"])},
            ["images: is stored column by column", "ascontiguousarray"],
        ),
        (GOOD | {"images": np.zeros((6, 4, 4), bool)}, ["images: must be integers or floats, got bool"]),
        (GOOD | {"images": np.zeros((6, 4, 4), complex)}, ["images: must be integers or floats, got complex128"]),
        ({"images": drawn(0, 4, 4), "labels": drawn(0)}, ["hold no image"]),
    ],
)
def test_arrays_that_are_no_images_with_a_label_each_are_refused(
    tmp_path: Path, arrays: dict[str, Any], words: list[str]
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    message = message_of(npz_source(tmp_path / "a.npz").listing)
    assert message.startswith(str(tmp_path / "a.npz"))
    for word in words:
        assert word in message


@pytest.mark.parametrize("where", ["images", "labels"])
def test_an_array_of_python_objects_is_refused_without_unpickling(tmp_path: Path, where: str) -> None:
    mark = tmp_path / "executed"
    objects = np.empty(6, object)
    objects[:] = [Bomb(mark) for _ in range(6)]
    np.savez(tmp_path / "a.npz", **(GOOD | {where: objects}))
    message = message_of(npz_source(tmp_path / "a.npz").listing)
    assert f"a.npz, {where}: must be an array of numbers, got Python objects, a pickle" in message
    assert message_of(lambda: drain(npz_source(tmp_path / "a.npz").raw())) == message
    assert not mark.exists()


def test_a_pickle_in_place_of_the_archive_is_refused_without_unpickling(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb(mark)))
    assert "is no NPZ file" in message_of(npz_source(tmp_path / "a.npz").listing)
    assert not mark.exists()


def npy(array: Array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (npy(GOOD["images"])[:-3], ["images: must hold 96 bytes (uint8 of shape (6, 4, 4)), got 93"]),
        (npy(GOOD["images"]) + b"x", ["must hold 96 bytes", "got 97"]),
        (b"text", ["images: is no array of numbers"]),
        (npy(GOOD["images"])[:40], ["images: is no array of numbers"]),
        (b"\x93NUMPY\x09\x00" + npy(GOOD["images"])[8:], ["version 9.0 of the format"]),
    ],
)
def test_a_broken_array_in_the_archive_is_refused(tmp_path: Path, images: bytes, words: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", images)
        archive.writestr("labels.npy", npy(GOOD["labels"]))
    message = message_of(npz_source(tmp_path / "a.npz").listing)
    for word in words:
        assert word in message


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_changed_pixels_are_found_by_the_checksum_of_the_archive(tmp_path: Path, save: Callable[..., None]) -> None:
    file = tmp_path / "a.npz"
    save(file, images=np.zeros((30, 300, 300), np.uint8), labels=np.zeros(30, np.uint8))
    with zipfile.ZipFile(file) as archive:
        right = struct.pack("<I", archive.getinfo("images.npy").CRC)
    file.write_bytes(file.read_bytes().replace(right, b"\1\2\3\4"))
    assert "a.npz, images: cannot be unpacked" in message_of(lambda: drain(npz_source(file).raw()))


def test_a_missing_archive_is_refused(tmp_path: Path) -> None:
    assert "no such file; set data.path" in message_of(npz_source(tmp_path / "a.npz").listing)


def test_the_memory_for_packed_arrays_does_not_grow_with_their_number(tmp_path: Path) -> None:
    def most(count: int) -> int:
        np.savez_compressed(tmp_path / f"{count}.npz", images=drawn(count, 28, 28), labels=np.zeros(count, np.uint8))
        return peak(lambda: drain(npz_source(tmp_path / f"{count}.npz").raw()))

    most(10)
    assert most(8000) <= 1.2 * most(2000)


# --- parquet ----------------------------------------------------------------------------------------------------------


def parquet_source(path: Path, *, image_column: str | None = None, label_column: str | None = None) -> Parquet:
    return Parquet(path=str(path), image_column=image_column, label_column=label_column)


STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def images_of(contents: Sequence[bytes | None], kind: pa.DataType = STRUCT) -> pa.Array:
    rows = [None if content is None else {"bytes": content, "path": "x.png"} for content in contents]
    return pa.array(rows if kind == STRUCT else contents, kind)


def class_label(names: Any, column: str = "label") -> dict[bytes, bytes]:
    features = {"image": {"_type": "Image"}, column: {"names": names, "_type": "ClassLabel"}}
    return {b"huggingface": json.dumps({"info": {"features": features}}).encode()}


def write_parquet(
    file: Path, columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None, **options: Any
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file, **options)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (
            ["train-0-of-2.parquet", "train-1-of-2.parquet", "validation-00000-of-00001.parquet", "test.parquet"],
            ["test", "train", "train", "validation"],
        ),
        (["default/train/0000.parquet", "default/val/0000.parquet"], ["train", "validation"]),
        (["data/0.parquet", "data/1.parquet"], [None, None]),
    ],
)  # fmt: skip
def test_parquet_files_read_as_they_were_written_with_the_splits_of_their_names(
    tmp_path: Path, names: list[str], expected: list[str | None]
) -> None:
    for number, name in enumerate(names):
        contents = [f"{name} {row}".encode() for row in range(40)]
        labels = [(row + number) % 3 for row in range(40)]
        columns = {"image": images_of(contents), "label": labels}
        write_parquet(tmp_path / name, columns, class_label(["cat", "dog", "cow"]), row_group_size=17)
    write_parquet(tmp_path / ".cache" / "train-0.parquet", {"other": [1]})
    source = parquet_source(tmp_path)
    listing = source.listing()
    assert listing.classes == ["cat", "dog", "cow"]
    assert [sample.split for sample in listing.samples[::40]] == expected
    assert [sample.path for sample in listing.samples] == [
        f"{name}/{row}" for name in sorted(names) for row in range(40)
    ]
    assert [sample.label for sample in listing.samples[:3]] == [(row + names.index(min(names))) % 3 for row in range(3)]
    assert list(source.raw()) == [
        sample.path.rpartition("/")[0].encode() + f" {index % 40}".encode()
        for index, sample in enumerate(listing.samples)
    ]
    assert list(source.files()) == sorted(tmp_path / name for name in names)
    single = parquet_source(tmp_path / names[0])
    assert single.listing().samples[5].path == f"{Path(names[0]).name}/5"
    assert list(single.files()) == [tmp_path / names[0]]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), STRUCT])
@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        ([10, 9, 9], ["9", "10"], [1, 0, 0]),
        ([-1, 1, 1], ["-1", "1"], [0, 1, 1]),
        (["b", " a", "b"], ["a", "b"], [1, 0, 1]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["a", "b"], [1, 0, 1]),
        (pa.array([3, 4, 3], pa.uint8()), ["3", "4"], [0, 1, 0]),
    ],
)
def test_without_names_the_classes_are_the_labels(
    tmp_path: Path, kind: pa.DataType, labels: Any, classes: list[str], expected: list[int]
) -> None:
    file = tmp_path / "a.parquet"
    write_parquet(file, {"img": images_of([b"1", b"2", b"3"], kind), "labels": labels})
    source = parquet_source(file)
    assert source.listing().classes == classes
    assert [sample.label for sample in source.listing().samples] == expected
    assert list(source.raw()) == [b"1", b"2", b"3"]


def test_the_columns_are_those_that_are_chosen(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    columns = {"image": images_of([b"1"]), "mask": images_of([b"2"]), "label": [0], "kind": ["x"]}
    write_parquet(file, columns)
    assert list(parquet_source(file).raw()) == [b"1"]
    source = parquet_source(file, image_column="mask", label_column="kind")
    assert list(source.raw()) == [b"2"]
    assert source.listing().classes == ["x"]


def test_rows_without_an_image_are_refused_and_the_others_keep_their_rows(tmp_path: Path) -> None:
    rows = [{"bytes": str(row).encode(), "path": None} for row in range(50)]
    images: list[Any] = [*rows]
    images[20], images[33], images[49] = None, {"bytes": None, "path": "gone.png"}, {"bytes": None, "path": None}
    write_parquet(
        tmp_path / "a.parquet",
        {"image": pa.array(images, STRUCT), "label": [row % 2 for row in range(50)]},
        row_group_size=10,
    )
    source = parquet_source(tmp_path / "a.parquet")
    listing = source.listing()
    assert {path: reason.reason for path, reason in listing.refused.items()} == {
        "a.parquet/20": "empty",
        "a.parquet/33": "not readable",
        "a.parquet/49": "empty",
    }
    assert "'gone.png'" in listing.refused["a.parquet/33"].detail
    assert [sample.path.rpartition("/")[2].encode() for sample in listing.samples] == list(source.raw())
    assert all(sample.label == int(sample.path.rpartition("/")[2]) % 2 for sample in listing.samples)


IMAGES = images_of([b"1", b"2"])


@pytest.mark.parametrize(
    ("columns", "metadata", "keys", "words"),
    [
        ({"label": [0, 1]}, None, {}, ["must have one column of images", "data.image_column", "label (int64)"]),
        ({"a": IMAGES, "b": IMAGES, "label": [0, 1]}, None, {}, ["must have one column of images", "a (struct"]),
        ({"image": IMAGES}, None, {}, ["must have a column label, labels or fine_label", "data.label_column"]),
        (
            {"image": IMAGES, "label": [0, 1]},
            None,
            {"image_column": "imag"},
            ["data.image_column", "'imag'", "did you mean 'image'"],
        ),
        ({"image": IMAGES, "label": [0, 1]}, None, {"label_column": "x"}, ["data.label_column", "'x'", "valid: image"]),
        (
            {"image": IMAGES, "label": [0, 1]},
            None,
            {"image_column": "label"},
            ["data.image_column: must be binary or a struct with bytes", "int64"],
        ),
        ({"image": IMAGES, "label": [0.5, 1]}, None, {}, ["column label: must be whole numbers or text", "double"]),
        ({"image": IMAGES, "label": [[0], [1, 2]]}, None, {}, ["one label an image", "list<"]),
        ({"image": IMAGES, "label": [0, None]}, None, {}, ["every image must have a label, got None in row 1"]),
        ({"image": IMAGES, "label": ["a", " "]}, None, {}, ["every image must have a label, got ' ' in row 1"]),
        (
            {"image": IMAGES, "label": [-1, -1]},
            class_label(["a", "b"]),
            {},
            ["every image must have a label, got -1 in row 0", "hides"],
        ),
        ({"image": IMAGES, "label": [0, 2]}, class_label(["a", "b"]), {}, ["must be from 0 to 1", "got 2 in row 1"]),
        ({"image": IMAGES, "label": [0, 1]}, class_label(["a", ""]), {}, ["the name of class 1 is empty"]),
        ({"image": IMAGES, "label": [0, 1]}, class_label(["a", "a"]), {}, ["each name must stand once, got 'a'"]),
        (
            {"image": IMAGES, "label": [0, 1]},
            class_label(7),
            {},
            ["names of column label must be a list of text, got 7"],
        ),
        ({"image": IMAGES, "label": [0, 1]}, {b"huggingface": b"{"}, {}, ["key huggingface of the schema"]),
        ({"image": IMAGES[:0], "label": pa.array([], pa.int64())}, None, {}, ["hold no row"]),
    ],
)
def test_parquet_columns_that_do_not_fit_are_refused(
    tmp_path: Path,
    columns: dict[str, Any],
    metadata: dict[bytes, bytes] | None,
    keys: dict[str, str],
    words: list[str],
) -> None:
    write_parquet(tmp_path / "a.parquet", columns, metadata)
    message = message_of(parquet_source(tmp_path / "a.parquet", **keys).listing)
    assert "a.parquet" in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, ["no such file or folder"]),
        ({}, ["must hold *.parquet, got none"]),
        ({"train-0": ({"image": IMAGES, "label": [0, 1]}, None), "rest": ({"image": IMAGES, "label": [0, 1]}, None)},
         ["rest.parquet: must name a split, since train-0.parquet does"]),
        ({"a": ({"image": IMAGES, "label": [0, 1]}, None), "b": ({"img": IMAGES, "label": [0, 1]}, None)},
         ["b.parquet: must have the image column of a.parquet, image, got img"]),
        ({"a": ({"image": IMAGES, "label": [0, 1]}, class_label(["x", "y"])),
          "b": ({"image": IMAGES, "label": [0, 1]}, class_label(["y", "x"]))},
         ["b.parquet: must have the class names of a.parquet", "('y', 'x')"]),
    ],
)  # fmt: skip
def test_parquet_files_that_do_not_belong_together_are_refused(
    tmp_path: Path, files: dict[str, Any] | None, words: list[str]
) -> None:
    folder = tmp_path / "raw"
    if files is not None:
        folder.mkdir()
        for name, (columns, metadata) in files.items():
            write_parquet(folder / f"{name}.parquet", columns, metadata)
    message = message_of(parquet_source(folder).listing)
    for word in words:
        assert word in message


@pytest.mark.parametrize("cut", [0, 3, 100, -1])
def test_a_parquet_file_that_is_cut_off_or_none_is_refused_by_its_path(tmp_path: Path, cut: int) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": IMAGES, "label": [0, 1]})
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content[:cut])
    message = message_of(parquet_source(tmp_path / "a.parquet").listing)
    assert re.match(rf"{re.escape(str(tmp_path))}/a\.parquet: is no whole Parquet file \(.+\); copy", message)


def test_changed_bytes_are_found_by_the_checksums_of_the_pages(tmp_path: Path) -> None:
    contents = [b"content %d" % row for row in range(9)]
    columns = {"image": images_of(contents), "label": [0] * 9}
    write_parquet(
        tmp_path / "a.parquet", columns, compression="none", write_page_checksum=True, use_dictionary=False,
        write_statistics=False,
    )  # fmt: skip
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"content 5", b"content X"))
    assert "is no whole Parquet file" in message_of(lambda: drain(parquet_source(tmp_path / "a.parquet").raw()))


def test_the_memory_for_parquet_images_does_not_grow_with_the_row_group(tmp_path: Path) -> None:
    def most(count: int) -> int:
        rows = images_of([os.urandom(20_000) for _ in range(count)])
        write_parquet(
            tmp_path / f"{count}.parquet",
            {"image": rows, "label": [0] * count},
            write_batch_size=16,
            row_group_size=count,
        )
        del rows
        before: int = pa.total_allocated_bytes()
        return max(
            int(pa.total_allocated_bytes()) - before for _ in parquet_source(tmp_path / f"{count}.parquet").raw()
        )

    assert most(1600) <= 1.2 * most(400)


# --- all --------------------------------------------------------------------------------------------------------------


def test_the_sources_start_without_what_is_slow_to_import(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", {"image": IMAGES, "label": [0, 1]})
    code = f"""
import sys
from imagewright.data.sources import cifar, csv, idx, npz, parquet
assert len(list(parquet.Parquet(path={str(tmp_path)!r}, image_column=None, label_column=None).files())) == 1
print([name for name in ("torch", "pyarrow", "pandas", "sklearn", "PIL", "cv2") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("source", [Csv, Idx, Cifar, Npz, Parquet])
def test_the_keys_of_the_configuration_are_the_arguments_of_the_source(source: type[Any]) -> None:
    name = source.__name__.lower()
    written = yaml.safe_load((Path(__file__).parents[1] / "conf" / "data" / f"{name}.yaml").read_text("utf-8"))
    assert written.pop("_target_") == f"{source.__module__}.{source.__name__}"
    # What all sources have in common is no matter of the source.
    own = set(written) - {"defaults", "image_size", "channels", "duplicates"}
    assert own == set(inspect.signature(source).parameters)


def test_the_sources_give_the_same_each_time(tmp_path: Path) -> None:
    images, labels = drawn(5, 4, 4), np.arange(5, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    pair(tmp_path)
    manifest = table(tmp_path, "path,label\nb,x\na,y\n", ["a", "b"])
    write_parquet(tmp_path / "a.parquet", {"image": IMAGES, "label": [0, 1]})
    for build in (
        lambda: npz_source(tmp_path / "a.npz"),
        lambda: idx_source(tmp_path),
        lambda: csv_source(manifest),
        lambda: parquet_source(tmp_path / "a.parquet"),
    ):
        source = build()
        assert source.listing() == source.listing() == build().listing()
        assert len(source.listing().samples) == drain(source.raw()) == drain(source.raw()) == drain(build().raw())
        assert len({sample.path for sample in source.listing().samples}) == len(source.listing().samples)
