"""The packed store, statistics and the digits."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from imagewright.data import statistics
from imagewright.data.sources import SPLITS
from imagewright.data.sources.digits import Digits
from imagewright.data.statistics import measure, shift_and_scale
from imagewright.data.store import COLUMNS, ArrayWriter, StoredSample, read_classes, read_split, write_store
from imagewright.errors import DataError

Images = npt.NDArray[np.uint8]


def drawn(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- store ------------------------------------------------------------------------------------------------------------


CLASSES = ["häuser", "b", "c"]


def labels_of(*counts: int) -> list[int]:
    """So many images of each class, in a mixed order."""
    ordered = np.repeat(np.arange(len(counts)), counts)
    labels: list[int] = np.random.default_rng(0).permutation(ordered).tolist()
    return labels


def sample_of(index: int, image: Images, label: int, split: str) -> StoredSample:
    digest = hashlib.sha256(image.tobytes()).hexdigest()
    return StoredSample(f"folder, one/{index}.png", digest, label, split, 600 + index, 800, "PNG", "RGB", "g", "a, b")


def write(folder: Path, images: Images, labels: Sequence[int], splits: Sequence[str], *, portion: int = 7) -> None:
    write_store(
        folder,
        classes=CLASSES,
        samples=(sample_of(*row) for row in zip(range(len(images)), images, labels, splits, strict=True)),
        sizes=Counter(splits),
        portions=(images[first : first + portion] for first in range(0, len(images), portion)),
        shape=images.shape[1:],
    )


@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 7, 3)])
def test_images_and_labels_come_back_as_they_were_written(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    images, labels = drawn(60, *shape), np.array(labels_of(20, 20, 20))
    splits = np.random.default_rng(1).choice(SPLITS, 60)
    write(tmp_path, images, labels.tolist(), splits.tolist())
    for split in SPLITS:
        stored, stored_labels = read_split(tmp_path / split)
        assert stored.dtype == np.uint8
        assert stored_labels.dtype == np.int64
        np.testing.assert_array_equal(stored, images[splits == split])
        np.testing.assert_array_equal(stored_labels, labels[splits == split])
    assert read_classes(tmp_path) == json.loads((tmp_path / "classes.json").read_bytes()) == CLASSES


def test_the_table_of_samples_leads_from_each_image_to_its_row(tmp_path: Path) -> None:
    images, labels = drawn(40, 6, 5, 3), labels_of(10, 10, 20)
    splits = np.random.default_rng(1).choice(SPLITS, 40).tolist()
    write(tmp_path, images, labels, splits)
    with (tmp_path / "samples.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == len(images)
    for index, row in enumerate(rows):
        assert row["path"] == f"folder, one/{index}.png"
        assert row["sha256"] == hashlib.sha256(images[index].tobytes()).hexdigest()
        assert (int(row["label"]), row["split"]) == (labels[index], splits[index])
        assert row["class"] == CLASSES[labels[index]]
        assert (row["height"], row["width"], row["format"], row["mode"]) == (str(600 + index), "800", "PNG", "RGB")
        assert (row["group"], row["notes"]) == ("g", "a, b")
        np.testing.assert_array_equal(read_split(tmp_path / row["split"])[0][int(row["row"])], images[index])


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 9, 1), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 1), np.float32)]
)
def test_an_image_of_another_shape_or_type_is_refused_by_its_path(tmp_path: Path, wrong: npt.NDArray[Any]) -> None:
    good = np.zeros((1, 8, 8, 1), np.uint8)
    with pytest.raises(DataError) as raised:
        write_store(
            tmp_path,
            classes=["a"],
            samples=[sample_of(0, good[0], 0, "train"), sample_of(1, good[0], 0, "train")],
            sizes={"train": 2},
            portions=[good, wrong[None]],
            shape=(8, 8, 1),
        )
    message = str(raised.value)
    assert message.startswith("folder, one/1.png: must be uint8 of shape (8, 8, 1)")
    assert f"got {wrong.dtype} of {wrong.shape}" in message


def test_arrays_without_an_image_can_be_read(tmp_path: Path) -> None:
    with ArrayWriter(tmp_path / "empty", (0, 8, 6, 3)):
        pass
    images, labels = read_split(tmp_path / "empty")
    assert (images.shape, images.dtype) == ((0, 8, 6, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((0,), np.int64)


@pytest.mark.parametrize("missing", ["images.npy", "labels.npy"])
def test_a_split_without_one_of_its_arrays_is_refused_by_its_folder(tmp_path: Path, missing: str) -> None:
    write(tmp_path, drawn(6, 4, 4, 1), [0] * 6, ["train"] * 6)
    (tmp_path / "train" / missing).unlink()
    with pytest.raises(DataError, match=f"train: has no {missing}"):
        read_split(tmp_path / "train")


def test_arrays_that_were_cut_off_are_refused_by_their_folder(tmp_path: Path) -> None:
    write(tmp_path, drawn(6, 4, 4, 1), [0] * 6, ["train"] * 6)
    file = tmp_path / "train" / "images.npy"
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(DataError, match="train"):
        read_split(tmp_path / "train")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((3, 4, 4, 1), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((3, 4, 4), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((3, 4, 4, 1), np.float32), np.zeros(3, np.int64)),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    tmp_path: Path, images: npt.NDArray[Any], labels: npt.NDArray[Any]
) -> None:
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    with pytest.raises(DataError, match=r"images must be uint8 \(N, H, W, C\) with N labels"):
        read_split(tmp_path)


def test_a_store_without_class_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no classes\.json"):
        read_classes(tmp_path)


def test_reading_maps_the_images_instead_of_loading_them(tmp_path: Path) -> None:
    write(tmp_path, drawn(6, 4, 4, 1), [0] * 6, ["train"] * 6)
    images, _ = read_split(tmp_path / "train")
    assert isinstance(images, np.memmap)
    assert not images.flags.writeable


def test_the_memory_for_writing_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak(size: int) -> int:
        image = np.zeros((32, 32, 3), np.uint8)
        tracemalloc.start()
        write_store(
            tmp_path / str(size),
            classes=CLASSES,
            samples=(sample_of(index, image, index % 3, "train") for index in range(size)),
            sizes={"train": size},
            portions=(drawn(50, 32, 32, 3) for _ in range(size // 50)),
            shape=(32, 32, 3),
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(50)  # What is imported and cached at the first call is not counted.
    assert peak(4000) <= 1.2 * peak(1000)


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 1000, 64 * 1024 * 1024])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (50, 8, 8, 1), (37, 9, 5, 3), (11, 16, 16, 4)])
def test_the_statistics_are_numpys_in_float64(
    shape: tuple[int, ...], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_CHUNK", chunk)
    # Channels of different level and spread.
    images = (drawn(*shape) // np.arange(1, shape[3] + 1) + 10 * np.arange(shape[3])).astype(np.uint8)
    measured = measure(images)
    pixels = images.reshape(-1, shape[3]).astype(np.float64)
    np.testing.assert_allclose(measured.mean, pixels.mean(axis=0), rtol=0, atol=1e-9)
    np.testing.assert_allclose(measured.std, pixels.std(axis=0), rtol=0, atol=1e-9)
    assert measured.minimum == pixels.min(axis=0).tolist()
    assert measured.maximum == pixels.max(axis=0).tolist()
    assert measured.images == shape[0]


def test_a_small_spread_at_a_high_level_loses_no_digits() -> None:
    images = np.full((500, 20, 20, 1), 255, np.uint8)
    images[0, 0, 0] = 254
    share = 1 / images.size
    assert measure(images).std[0] == pytest.approx(math.sqrt(share * (1 - share)), rel=1e-12)


def test_no_image_to_measure_is_refused() -> None:
    with pytest.raises(DataError, match="no images to measure"):
        measure(np.zeros((0, 8, 8, 1), np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_each_scheme_gives_the_range_that_it_promises(channels: int) -> None:
    images = drawn(40, 8, 8, channels)
    images = (images // 3 + 20).astype(np.uint8)
    measured = measure(images)

    def normalized(scheme: str) -> npt.NDArray[np.float64]:
        shift, scale = shift_and_scale(measured, scheme)
        assert len(shift) == len(scale) == channels
        return ((images - np.array(shift)) / np.array(scale)).reshape(-1, channels)

    np.testing.assert_allclose(normalized("standard").mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(normalized("standard").std(axis=0), 1, atol=1e-9)
    np.testing.assert_array_equal(normalized("minmax").min(axis=0), 0)
    np.testing.assert_array_equal(normalized("minmax").max(axis=0), 1)
    np.testing.assert_array_equal(normalized("none"), images.reshape(-1, channels))


@pytest.mark.parametrize("scheme", ["standard", "minmax", "none"])
def test_a_channel_of_equal_pixels_keeps_the_scale_1(scheme: str) -> None:
    images = drawn(20, 8, 8, 3)
    images[..., 1] = 77
    shift, scale = shift_and_scale(measure(images), scheme)
    assert scale[1] == 1
    assert shift[1] == (0 if scheme == "none" else 77)
    assert (scale[0] > 1) == (scheme != "none")


# --- digits -----------------------------------------------------------------------------------------------------------


def test_the_digits_are_scikit_learns_from_0_to_255() -> None:
    source, expected = Digits(), load_digits()
    listing = source.listing()
    assert len(listing.samples) == len({sample.path for sample in listing.samples}) == 1797
    assert [sample.label for sample in listing.samples] == expected.target.tolist()
    assert listing.classes == [str(digit) for digit in range(10)]
    images = np.stack(list(source.raw()))
    assert (images.shape, images.dtype) == ((1797, 8, 8), np.uint8)
    np.testing.assert_array_equal(images, np.round(expected.images / 16 * 255))
    assert (images.min(), images.max()) == (0, 255)
    assert list(source.files()) == []


def test_the_digits_are_listed_in_the_same_order_each_time() -> None:
    assert Digits().listing() == Digits().listing()
