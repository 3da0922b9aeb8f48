"""Batches, compared with indexing one image at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from imagewright.data.augmentation import Policy
from imagewright.data.loader import Arrays, ImageBatches, make_loader

Batches = list[tuple[Tensor, Tensor]]


def arrays(*sizes: int, channels: int = 1) -> list[Arrays]:
    """Arrays of 8x8 images; the labels count through all of them, so that each names its image."""
    random = np.random.default_rng(sum(sizes))
    starts = np.cumsum([0, *sizes])
    return [
        (random.integers(0, 256, (size, 8, 8, channels), dtype=np.uint8), np.arange(start, start + size))
        for size, start in zip(sizes, starts, strict=False)
    ]


def epoch(loader: DataLoader[tuple[Tensor, Tensor]], number: int = 0) -> Batches:
    loader.sampler.set_epoch(number)  # type: ignore[attr-defined]
    return list(loader)


def order(batches: Batches) -> list[int]:
    rows: list[int] = torch.cat([labels for _, labels in batches]).tolist()
    return rows


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 7, 16, 100, 101, 1000])
@pytest.mark.parametrize("size", [1, 16, 100])
def test_an_epoch_yields_each_image_once_in_batches_of_nearly_equal_size(
    size: int, batch_size: int, shuffle: bool
) -> None:
    loader = make_loader(ImageBatches(arrays(size)), batch_size, shuffle=shuffle)
    batches = epoch(loader)
    assert sorted(order(batches)) == list(range(size))
    sizes = [len(labels) for _, labels in batches]
    assert [len(images) for images, _ in batches] == sizes
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == len(loader) == -(-size // batch_size)


def test_without_shuffling_the_images_keep_their_order() -> None:
    loader = make_loader(ImageBatches(arrays(50)), 16)
    assert order(epoch(loader, 0)) == order(epoch(loader, 1)) == list(range(50))


def test_the_order_is_drawn_anew_in_each_epoch_and_follows_from_the_seed() -> None:
    def orders(seed: int) -> list[list[int]]:
        loader = make_loader(ImageBatches(arrays(50)), 16, shuffle=True, seed=seed)
        return [order(epoch(loader, number)) for number in (0, 1, 2)]

    first = orders(1)
    assert orders(1) == first
    drawn = [*first, *orders(2), list(range(50))]
    assert len({tuple(rows) for rows in drawn}) == len(drawn)


def test_an_epoch_can_be_drawn_again_after_others() -> None:
    loader = make_loader(ImageBatches(arrays(50)), 16, shuffle=True, seed=1)
    first = order(epoch(loader, 3))
    assert order(epoch(loader, 4)) != first
    assert order(epoch(loader, 3)) == first


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("sizes", [(40,), (13, 20, 7), (13, 0, 27), (0, 40), (40, 0)])
def test_each_row_of_a_batch_is_the_image_of_its_label(sizes: tuple[int, ...], channels: int, workers: int) -> None:
    parts = arrays(*sizes, channels=channels)
    one_by_one = [image for images, _ in parts for image in images]
    loader = make_loader(ImageBatches(parts), 9, shuffle=True, seed=5, workers=workers)
    batches = epoch(loader)
    assert sorted(order(batches)) == list(range(40))
    for images, labels in batches:
        for image, label in zip(images, labels.tolist(), strict=True):
            np.testing.assert_array_equal(image.numpy(), one_by_one[label].transpose(2, 0, 1))


@pytest.mark.parametrize("sizes", [(20,), (8, 12)])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_bytes_in_channels_last_order_and_labels_whole_numbers(
    channels: int, sizes: tuple[int, ...]
) -> None:
    for images, labels in epoch(make_loader(ImageBatches(arrays(*sizes, channels=channels)), 8)):
        assert images.dtype == torch.uint8
        assert tuple(images.shape[1:]) == (channels, 8, 8)
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert labels.dtype == torch.int64


def test_arrays_on_disk_are_read_as_those_in_memory(tmp_path: Path) -> None:
    ((images, labels),) = arrays(30, channels=3)
    np.save(tmp_path / "images.npy", images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    expected = epoch(make_loader(ImageBatches([(images, labels)]), 8, shuffle=True))
    given = epoch(make_loader(ImageBatches([(mapped, labels)]), 8, shuffle=True))
    for (one, _), (other, _) in zip(expected, given, strict=True):
        assert torch.equal(one, other)


def test_a_batch_is_a_copy_that_may_be_changed() -> None:
    parts = arrays(10)
    before = parts[0][0].copy()
    for images, labels in epoch(make_loader(ImageBatches(parts), 10)):
        images.fill_(0)
        labels.fill_(0)
    np.testing.assert_array_equal(parts[0][0], before)
    np.testing.assert_array_equal(parts[0][1], np.arange(10))


# --- augmentation while training --------------------------------------------------------------------------------------


def augmented(seed: int = 1, workers: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Two epochs of variants of 40 equal images, in the order of the labels; (40, 1, 8, 8) each."""
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 1), dtype=np.uint8)
    noise = Policy({"noise": {"_target_": "albumentations.GaussNoise", "std_range": [0.1, 0.3], "p": 1.0}})
    parts = [(np.repeat(image, 40, axis=0), np.arange(40))]
    loader = make_loader(ImageBatches(parts, noise, seed), 16, shuffle=True, seed=seed, workers=workers)
    epochs = []
    for number in (0, 1):
        batches = epoch(loader, number)
        rows = np.argsort(order(batches))
        epochs.append(torch.cat([images for images, _ in batches]).numpy()[rows])
    return epochs


def test_variants_are_the_same_with_and_without_workers() -> None:
    np.testing.assert_array_equal(augmented(workers=0), augmented(workers=2))


def test_variants_follow_from_the_seed() -> None:
    first = augmented(seed=1)
    np.testing.assert_array_equal(first, augmented(seed=1))
    assert (np.array(first) != np.array(augmented(seed=2))).any(axis=(2, 3, 4)).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_no_variant_is_drawn_twice_within_and_between_epochs(workers: int) -> None:
    variants = [image.tobytes() for images in augmented(workers=workers) for image in images]
    assert len(set(variants)) == len(variants) == 80


def test_the_seed_of_a_batch_names_training_epoch_and_batch() -> None:
    seeds: list[tuple[int, ...]] = []

    def note(images: npt.NDArray[np.uint8], seed: Sequence[int]) -> npt.NDArray[np.uint8]:
        seeds.append(tuple(seed))
        return images

    loader = make_loader(ImageBatches(arrays(20), note, 7), 10)
    for number in (0, 1):
        epoch(loader, number)
    assert seeds == [(7, 0, 0), (7, 0, 1), (7, 1, 0), (7, 1, 1)]
