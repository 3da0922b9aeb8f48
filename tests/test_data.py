"""Splits, the packed store, statistics and the digits."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit

from imagewright.data import statistics
from imagewright.data.sources import Sample
from imagewright.data.sources.digits import Digits
from imagewright.data.splits import SPLITS, assign_splits
from imagewright.data.statistics import measure, shift_and_scale
from imagewright.data.store import COLUMNS, ArrayWriter, read_classes, read_split, write_store
from imagewright.errors import DataError

Images = npt.NDArray[np.uint8]


def drawn(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


# --- splits -----------------------------------------------------------------------------------------------------------

CLASSES = ["a", "b", "c"]


def labels_of(*counts: int) -> list[int]:
    """So many images of each class, in a mixed order."""
    ordered = np.repeat(np.arange(len(counts)), counts)
    labels: list[int] = np.random.default_rng(0).permutation(ordered).tolist()
    return labels


@pytest.mark.parametrize(("validation", "test"), [(0.15, 0.15), (0.1, 0.2), (0.3, 0.1), (0.25, 0.5)])
@pytest.mark.parametrize("counts", [(100, 100, 100), (40, 90, 257), (33, 61, 500)])
def test_each_class_has_its_share_of_each_split_within_one_image(
    counts: tuple[int, ...], validation: float, test: float
) -> None:
    labels = labels_of(*counts)
    found = Counter(zip(labels, assign_splits(labels, validation, test, 1, CLASSES), strict=True))
    for label, count in enumerate(counts):
        assert sum(found[label, split] for split in SPLITS) == count
        # The size of a split is a whole number: rounding it up adds at most one image to all its classes together.
        for split, share in (("validation", validation), ("test", test)):
            total = sum(found[other, split] for other in range(len(counts)))
            assert abs(total - share * len(labels)) <= 1
            assert abs(found[label, split] - total * count / len(labels)) <= 1


@pytest.mark.parametrize("seed", [0, 7])
def test_the_splits_are_those_of_scikit_learns_stratified_shuffle_split(seed: int) -> None:
    labels = np.array(labels_of(30, 50, 70))
    (rest, test_rows), *_ = StratifiedShuffleSplit(1, test_size=0.2, random_state=seed).split(labels, labels)
    (train, validation), *_ = StratifiedShuffleSplit(1, test_size=0.1 / (1 - 0.2), random_state=seed).split(
        rest, labels[rest]
    )
    expected = np.full(len(labels), "", dtype=object)
    expected[rest[train]], expected[rest[validation]], expected[test_rows] = SPLITS
    assert assign_splits(labels.tolist(), 0.1, 0.2, seed, CLASSES) == expected.tolist()


def test_the_same_seed_draws_the_same_splits_and_another_seed_others() -> None:
    labels = labels_of(40, 50, 60)
    first, again, other = (assign_splits(labels, 0.15, 0.15, seed, CLASSES) for seed in (3, 3, 4))
    assert first == again
    assert first != other
    assert Counter(first) == Counter(other)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_class_with_fewer_images_than_splits_is_refused_by_name_and_count(count: int) -> None:
    with pytest.raises(DataError, match=rf"class 'b' has {count} images; each class needs at least 3"):
        assign_splits(labels_of(20, count, 20), 0.2, 0.2, 1, CLASSES)


@pytest.mark.parametrize("count", [3, 4, 6, 10])
def test_a_small_class_stands_in_every_split_or_is_refused_by_name(count: int) -> None:
    labels = labels_of(200, 300, count)
    try:
        found = set(zip(labels, assign_splits(labels, 0.1, 0.1, 1, CLASSES), strict=True))
    except DataError as error:
        named = "'c'" in str(error)
    else:
        named = False
    assert named or {split for label, split in found if label == 2} == set(SPLITS)


@pytest.mark.parametrize(("validation", "test"), [(0.01, 0.2), (0.2, 0.01), (0.49, 0.5)])
def test_shares_that_leave_a_split_without_a_class_are_refused_with_shares_and_count(
    validation: float, test: float
) -> None:
    with pytest.raises(DataError, match=r"data\.split") as raised:
        assign_splits(labels_of(10, 10, 10), validation, test, 1, CLASSES)
    assert f"validation {validation:g} and test {test:g} of 30 images in 3 classes" in str(raised.value)


# --- store ------------------------------------------------------------------------------------------------------------


def write(folder: Path, images: Images, labels: Sequence[int], splits: Sequence[str]) -> None:
    samples = [Sample(f"folder, one/{index}.png", label) for index, label in enumerate(labels)]
    write_store(
        folder,
        classes=["häuser", "b", "c"],
        samples=samples,
        splits=splits,
        read=lambda sample: images[samples.index(sample)],
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
    assert read_classes(tmp_path) == json.loads((tmp_path / "classes.json").read_bytes()) == ["häuser", "b", "c"]


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
        assert row["class"] == ["häuser", "b", "c"][labels[index]]
        assert (row["height"], row["width"], row["channels"], row["notes"]) == ("6", "5", "3", "")
        np.testing.assert_array_equal(read_split(tmp_path / row["split"])[0][int(row["row"])], images[index])


@pytest.mark.parametrize(
    "wrong", [np.zeros((8, 9, 1), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 1), np.float32)]
)
def test_an_image_of_another_shape_or_type_is_refused_by_its_path(tmp_path: Path, wrong: npt.NDArray[Any]) -> None:
    images = [np.zeros((8, 8, 1), np.uint8), wrong]
    with pytest.raises(DataError) as raised:
        write_store(
            tmp_path,
            classes=["a"],
            samples=[Sample("good.png", 0), Sample("wrong.png", 0)],
            splits=["train", "train"],
            read=lambda sample: images[sample.path == "wrong.png"],
            shape=(8, 8, 1),
        )
    message = str(raised.value)
    assert message.startswith("wrong.png: must be uint8 of shape (8, 8, 1)")
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
        pixels = np.random.default_rng(0)

        def samples() -> Iterator[Sample]:
            return (Sample(f"{index}.png", index % 3) for index in range(size))

        splits = ["train"] * size
        tracemalloc.start()
        write_store(
            tmp_path / str(size),
            classes=CLASSES,
            samples=samples(),
            splits=splits,
            read=lambda sample: pixels.integers(0, 256, (32, 32, 3), dtype=np.uint8),
            shape=(32, 32, 3),
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # What is imported and cached at the first call is not counted.
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
    source, expected = Digits([8, 8], 1), load_digits()
    samples = source.samples()
    assert len(samples) == len({sample.path for sample in samples}) == 1797
    assert [sample.label for sample in samples] == expected.target.tolist()
    assert source.classes == [str(digit) for digit in range(10)]
    images = np.stack([source.read(sample) for sample in samples])
    assert (images.shape, images.dtype) == ((1797, 8, 8, 1), np.uint8)

    np.testing.assert_array_equal(images[..., 0], np.round(expected.images / 16 * 255))
    assert (images.min(), images.max()) == (0, 255)


def test_the_digits_are_listed_in_the_same_order_each_time() -> None:
    assert list(Digits([8, 8], 1).samples()) == list(Digits([8, 8], 1).samples())
