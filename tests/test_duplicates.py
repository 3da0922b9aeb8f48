"""Images that are the same: exactly, or to the eye."""

from __future__ import annotations

import hashlib
import io
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance, ImageFilter
from scipy.fft import dctn

from imagewright.data import duplicates
from imagewright.data.duplicates import FLAT, find_duplicates, join, perceptual_hash
from imagewright.data.findings import DuplicateGroup
from imagewright.errors import DataError

Images = npt.NDArray[np.uint8]


def pictures(count: int, height: int = 48, width: int = 48, channels: int = 3, seed: int = 0) -> Images:
    """Smooth random pictures, all different."""
    random = np.random.default_rng(seed)
    small = random.integers(30, 190, (count, 6, 6, channels), dtype=np.uint8)  # room for brighter ones
    return np.stack(
        [
            np.asarray(Image.fromarray(image.squeeze()).resize((width, height), Image.Resampling.BICUBIC)).reshape(
                height, width, channels
            )
            for image in small
        ]
    )


def found(
    images: Images, *, near: bool = True, max_distance: int = 6, min_correlation: float = 0.9
) -> set[DuplicateGroup]:
    digests = np.array([hashlib.sha256(image.tobytes()).digest() for image in images], dtype="V32")
    groups = find_duplicates(
        digests,
        perceptual_hash(images),
        lambda rows: images[rows],
        near=near,
        max_distance=max_distance,
        min_correlation=min_correlation,
    )
    assert len(groups) == len(set(groups))
    return set(groups)


# --- hash -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(32, 32, 1), (32, 32, 3), (64, 48, 3), (8, 8, 1), (101, 33, 3)])
def test_the_hash_has_the_low_frequencies_of_scipys_cosine_transform_above_their_median(
    shape: tuple[int, int, int],
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, *shape), dtype=np.uint8)
    for image, value in zip(images, perceptual_hash(images), strict=True):
        grey = image[..., 0] if shape[2] == 1 else image @ np.array([0.299, 0.587, 0.114])
        low = dctn(grey.astype(np.float64), norm="ortho")[:8, :8].reshape(-1)[1:]
        bits = [int(bit) for bit in f"{int(value):064b}"][1:]
        clear = np.abs(low - np.median(low)) > 1e-2 * np.abs(low).max()  # the others may round to either side
        np.testing.assert_array_equal(np.array(bits)[clear], (low > np.median(low))[clear])


def test_an_image_without_structure_has_the_hash_of_its_kind() -> None:
    flat = np.stack([np.full((32, 32, 3), shade, np.uint8) for shade in (0, 17, 200, 255)])
    flat[1, 3, 4] = 18
    assert (perceptual_hash(flat) == FLAT).all()
    assert (perceptual_hash(pictures(20)) != FLAT).all()


# --- exact ------------------------------------------------------------------------------------------------------------


def test_equal_pixels_are_one_group_however_many_there_are() -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    images[[4, 7, 9]] = images[1]
    images[11] = images[0]
    expected = {DuplicateGroup("exact", (1, 4, 7, 9)), DuplicateGroup("exact", (0, 11))}
    assert found(images, near=False) == expected
    assert found(images) == expected


def test_a_difference_in_one_value_is_no_exact_duplicate() -> None:
    images = np.repeat(pictures(1), 2, axis=0)
    images[1, 0, 0, 0] ^= 1
    assert found(images, near=False) == set()
    assert found(images) == {DuplicateGroup("near", (0, 1))}


def test_flat_images_are_duplicates_only_if_they_are_equal() -> None:
    flat = np.stack([np.full((32, 32, 1), shade, np.uint8) for shade in (10, 10, 11, 200)])
    assert found(flat) == {DuplicateGroup("exact", (0, 1))}


# --- near -------------------------------------------------------------------------------------------------------------


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


CHANGES = {
    "recompressed": lambda image: jpeg(image, 40),
    "smaller and back": lambda image: image.resize((24, 24)).resize((48, 48)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "grey": lambda image: image.convert("L").convert("RGB"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_a_near_duplicate_and_other_images_are_not(change: str) -> None:
    originals = pictures(40)
    copies = np.stack([np.asarray(CHANGES[change](Image.fromarray(image)).convert("RGB")) for image in originals[:10]])
    groups = found(np.concatenate([originals, copies]))
    wanted = {DuplicateGroup("near", (row, 40 + row)) for row in range(10)}
    assert groups <= wanted
    assert len(groups) >= 9  # a hash of so few bits may miss one


@pytest.mark.parametrize("change", [lambda image: image[:, ::-1], lambda image: np.rot90(image)])
def test_a_mirrored_or_turned_image_is_another_one(change: object) -> None:
    images = pictures(10)
    assert found(np.concatenate([images, np.stack([change(image) for image in images])])) == set()  # type: ignore[operator]


def test_a_near_group_holds_its_equal_images_too_and_chains_are_one_group() -> None:
    first = pictures(1)[0]
    steps = [first]
    for _ in range(3):
        steps.append(np.asarray(jpeg(Image.fromarray(steps[-1]), 60)))
    images = np.stack([*steps, first, *pictures(5, seed=1)])
    groups = found(images)
    assert DuplicateGroup("exact", (0, 4)) in groups
    assert DuplicateGroup("near", (0, 1, 2, 3, 4)) in groups
    assert len(groups) == 2


@pytest.mark.parametrize("max_distance", [0, 1, 3, 6, 10])
def test_candidates_are_all_pairs_within_the_distance_each_once(
    max_distance: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_PAIRS", 50)
    random = np.random.default_rng(0)
    hashes = random.integers(1, 2**63, 40, dtype=np.uint64)
    for row in range(40, 120):  # others at a few bits from them
        bits = random.choice(63, random.integers(1, 12), replace=False)
        hashes = np.append(hashes, hashes[row % 40] ^ np.bitwise_or.reduce(np.uint64(1) << bits.astype(np.uint64)))
    pairs = np.concatenate([*duplicates._candidates(hashes, np.arange(120), max_distance), np.zeros((0, 2), np.int64)])
    expected = [
        (left, right)
        for left, right in combinations(range(120), 2)
        if (int(hashes[left]) ^ int(hashes[right])).bit_count() <= max_distance
    ]
    assert sorted(map(tuple, pairs.tolist())) == expected
    assert bool(expected) == (max_distance > 0)


@pytest.mark.parametrize("shape", [(48, 48, 3), (20, 24, 1), (100, 70, 3)])
def test_the_correlation_is_numpys_of_the_thumbnails(shape: tuple[int, int, int]) -> None:
    images = pictures(6, *shape)
    pairs = np.array(list(combinations(range(6), 2)))
    measured = duplicates._correlation(lambda rows: images[rows], pairs)
    for (left, right), value in zip(pairs, measured, strict=True):
        small = [duplicates._thumbnails(images[[row]]).reshape(-1) for row in (left, right)]
        assert value == pytest.approx(np.corrcoef(small)[0, 1], abs=1e-5)
        whole = np.corrcoef(
            [np.asarray(Image.fromarray(images[row].squeeze()).convert("L")).reshape(-1) for row in (left, right)]
        )[0, 1]
        assert value == pytest.approx(whole, abs=0.03)


def test_images_that_all_look_alike_are_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_MOST_PAIRS", 100)
    image = pictures(1)[0].astype(int)
    images = np.stack([np.clip(image + shade, 0, 255).astype(np.uint8) for shade in range(30)])
    with pytest.raises(DataError, match=r"30 images look so much alike .* data\.duplicates\.near to false"):
        found(images)


# --- joining ----------------------------------------------------------------------------------------------------------


def test_rows_are_joined_through_chains_of_groups() -> None:
    joined = join(8, [(0, 3), (3, 5), (1, 2, 6)])
    together = {frozenset(np.flatnonzero(joined == number).tolist()) for number in set(joined.tolist())}
    assert together == {frozenset({0, 3, 5}), frozenset({1, 2, 6}), frozenset({4}), frozenset({7})}


def test_nothing_to_join_leaves_every_row_by_itself() -> None:
    assert len(set(join(5, []).tolist())) == 5
    assert len(join(0, [])) == 0
