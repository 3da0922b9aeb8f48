"""Which images are for training, validation and test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from imagewright.data.sources import SPLITS
from imagewright.data.splits import assign_splits
from imagewright.errors import DataError

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
def test_a_small_class_stands_in_every_split(count: int) -> None:
    labels = labels_of(200, 300, count)
    found = set(zip(labels, assign_splits(labels, 0.1, 0.1, 1, CLASSES), strict=True))
    assert {split for label, split in found if label == 2} == set(SPLITS)


@pytest.mark.parametrize(("validation", "test"), [(0.01, 0.2), (0.2, 0.01), (0.49, 0.5)])
def test_shares_that_round_to_nothing_still_give_each_class_an_image_in_each_split(
    validation: float, test: float
) -> None:
    labels = labels_of(10, 10, 10)
    found = Counter(zip(labels, assign_splits(labels, validation, test, 1, CLASSES), strict=True))
    assert all(found[label, split] >= 1 for label in range(3) for split in SPLITS)


# --- units ------------------------------------------------------------------------------------------------------------


def units_of(labels: Sequence[int], sizes: Sequence[int], seed: int = 0) -> list[int]:
    """Units of images of one class, of these sizes over and over."""
    units = np.zeros(len(labels), dtype=int)
    number, random = 0, np.random.default_rng(seed)
    for label in sorted(set(labels)):
        rows = random.permutation(np.flatnonzero(np.array(labels) == label))
        while len(rows):
            size = sizes[number % len(sizes)]
            units[rows[:size]], rows, number = number, rows[size:], number + 1
    return units.tolist()


def splits_of_units(units: Sequence[int], splits: Sequence[str]) -> list[set[str]]:
    together: dict[int, set[str]] = {}
    for unit, split in zip(units, splits, strict=True):
        together.setdefault(unit, set()).add(split)
    return list(together.values())


@pytest.mark.parametrize("sizes", [[2], [1, 1, 1, 5], [10], [1, 2, 3, 4, 40]])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_unit_is_never_parted_and_the_shares_are_kept_within_its_size(sizes: list[int], seed: int) -> None:
    labels = labels_of(200, 300, 500)
    units = units_of(labels, sizes)
    splits = assign_splits(labels, 0.15, 0.15, seed, CLASSES, units=units)
    assert all(len(present) == 1 for present in splits_of_units(units, splits))
    found = Counter(zip(labels, splits, strict=True))
    for label, count in enumerate((200, 300, 500)):
        for split in ("validation", "test"):
            assert abs(found[label, split] - 0.15 * count) <= max(sizes) / 2 + 1


def test_units_that_hold_several_classes_are_kept_whole_and_each_class_is_everywhere() -> None:
    labels = labels_of(60, 60, 60)
    units = [index // 6 for index in range(180)]  # 30 patients with 6 images of mixed classes each
    splits = assign_splits(labels, 0.2, 0.2, 1, CLASSES, units=units)
    assert all(len(present) == 1 for present in splits_of_units(units, splits))
    assert set(zip(labels, splits, strict=True)) == {(label, split) for label in range(3) for split in SPLITS}
    sizes = Counter(splits)
    assert abs(sizes["validation"] - 36) <= 6
    assert abs(sizes["test"] - 36) <= 6


def test_a_class_of_three_large_units_has_one_in_each_split() -> None:
    labels = [0] * 30 + [1] * 30
    units = [index // 10 for index in range(60)]
    splits = assign_splits(labels, 0.15, 0.15, 1, CLASSES[:2], units=units)
    assert set(zip(labels, splits, strict=True)) == {(label, split) for label in range(2) for split in SPLITS}


def test_a_class_with_fewer_units_than_splits_is_refused_with_images_and_groups() -> None:
    labels = [0] * 30 + [1] * 30
    units = [index if index < 30 else 30 + index // 20 for index in range(60)]
    with pytest.raises(DataError, match=r"class 'b' has 30 images in 2 groups .* each class needs at least 3"):
        assign_splits(labels, 0.15, 0.15, 1, CLASSES[:2], units=units)


def test_classes_that_cannot_be_everywhere_without_parting_a_group_are_refused_by_name() -> None:
    # Two classes that share all their three units with a third that has nothing else.
    labels = [0, 1, 0, 1, 0, 1, 2, 2, 2]
    units = [0, 0, 1, 1, 2, 2, 0, 3, 4]
    splits = assign_splits(labels, 0.3, 0.3, 1, CLASSES, units=units)
    assert set(zip(labels, splits, strict=True)) == {(label, split) for label in range(3) for split in SPLITS}
    labels, units = [0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 0, 3]
    with pytest.raises(DataError, match="class 'b' has 3 images in 2 groups"):
        assign_splits(labels, 0.3, 0.3, 1, CLASSES[:2], units=units)


# --- official splits --------------------------------------------------------------------------------------------------


def test_the_splits_of_the_source_are_kept_as_they_are() -> None:
    labels = labels_of(30, 30, 30)
    official = np.random.default_rng(0).choice(SPLITS, 90).tolist()
    assert assign_splits(labels, 0.5, 0.4, 1, CLASSES, official=official) == official


@pytest.mark.parametrize("missing", ["validation", "test"])
def test_a_missing_split_is_drawn_from_the_training_images_alone(missing: str) -> None:
    labels = labels_of(100, 100, 100)
    there = "test" if missing == "validation" else "validation"
    official = [there if index % 3 == 0 else "train" for index in range(300)]
    splits = assign_splits(labels, 0.2, 0.2, 1, CLASSES, official=official)
    assert [split == there for split in splits] == [split == there for split in official]
    assert Counter(splits)[missing] == round(0.2 * 200)
    assert {labels[index] for index in range(300) if splits[index] == missing} == {0, 1, 2}


def test_a_unit_that_reaches_into_an_official_split_is_kept_whole_outside_of_it() -> None:
    labels = labels_of(60, 60, 60)
    units = [index // 3 for index in range(180)]
    official = ["test" if index % 3 == 0 else "train" for index in range(180)]
    splits = assign_splits(labels, 0.2, 0.2, 1, CLASSES, official=official, units=units)
    drawn = [(unit, split) for unit, split in zip(units, splits, strict=True) if split != "test"]
    assert all(len(present) == 1 for present in splits_of_units(*zip(*drawn, strict=True)))


@pytest.mark.parametrize("seed", range(20))
def test_any_mixture_of_units_keeps_them_whole_and_fills_each_class(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, 200).tolist()
    units = random.integers(0, 80, 200).tolist()
    splits = assign_splits(labels, 0.15, 0.15, seed, CLASSES, units=units)
    assert all(len(present) == 1 for present in splits_of_units(units, splits))
    assert set(zip(labels, splits, strict=True)) == {(label, split) for label in range(3) for split in SPLITS}
