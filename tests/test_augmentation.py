"""Policies, and the copies that they write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from imagewright.config.composition import compose_config
from imagewright.data.augmentation import CHUNK, Policy, write_copies
from imagewright.data.store import ArrayWriter, read_split
from imagewright.errors import ConfigError

ROOT = Path(__file__).parents[1]

Images = npt.NDArray[np.uint8]
Transforms = Mapping[str, Mapping[str, Any] | None]

FLIP: Transforms = {"flip": {"_target_": "albumentations.HorizontalFlip", "p": 1.0}}
NOISE: Transforms = {"noise": {"_target_": "albumentations.GaussNoise", "std_range": [0.1, 0.3], "p": 1.0}}
RANDOM: Transforms = {
    "flip": {"_target_": "albumentations.HorizontalFlip", "p": 0.5},
    "rotate": {"_target_": "albumentations.Rotate", "limit": 30, "p": 0.7},
    "noise": {"_target_": "albumentations.GaussNoise", "std_range": [0.1, 0.3], "p": 0.5},
}


def drawn(*shape: int) -> Images:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def split_of(folder: Path, *shape: int) -> Path:
    """A training split of random images with random labels."""
    with ArrayWriter(folder, shape) as writer:  # type: ignore[arg-type]
        writer.images[:] = drawn(*shape)
        writer.labels[:] = np.random.default_rng(1).integers(0, 5, shape[0])
    return folder


def copied(
    folder: Path, source: Path, transforms: Transforms, copies: int, seed: int = 1, processes: int | None = None
) -> tuple[Images, npt.NDArray[np.int64]]:
    written = write_copies(folder, source, transforms=transforms, copies=copies, seed=seed, processes=processes)
    assert sum(written) == copies * len(read_split(source)[1])
    return read_split(folder)


# --- policy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("target", "axis"), [("albumentations.HorizontalFlip", 2), ("albumentations.VerticalFlip", 1)])
def test_a_certain_flip_is_numpys(target: str, axis: int, channels: int) -> None:
    images = drawn(10, 6, 8, channels)
    np.testing.assert_array_equal(Policy({"flip": {"_target_": target, "p": 1.0}})(images, (1,)), np.flip(images, axis))


def test_transforms_apply_in_their_order() -> None:
    darken = {"_target_": "albumentations.RandomBrightnessContrast", "p": 1.0}
    down, up = ({**darken, "brightness_limit": [by, by], "contrast_limit": [0, 0]} for by in (-0.5, 0.5))
    image = np.full((1, 8, 8, 1), 100, np.uint8)
    # 100 - 127.5 is cut off at 0.
    assert Policy({"down": down, "up": up})(image, (1,)).max() == pytest.approx(127.5, abs=1)
    assert Policy({"up": up, "down": down})(image, (1,)).max() == pytest.approx(100, abs=1)


def test_the_same_seed_draws_the_same_variants_and_another_seed_others() -> None:
    policy, images = Policy(RANDOM), drawn(40, 8, 8, 1)
    first = policy(images, (1, 2, 3))
    assert not np.array_equal(first, policy(images, (1, 2, 4)))
    np.testing.assert_array_equal(first, policy(images, (1, 2, 3)))
    np.testing.assert_array_equal(first, Policy(RANDOM)(images, (1, 2, 3)))


def test_equal_images_get_different_variants() -> None:
    images = np.repeat(drawn(1, 8, 8, 1), 20, axis=0)
    assert len({variant.tobytes() for variant in Policy(NOISE)(images, (1,))}) == 20


def test_drawing_leaves_the_originals_as_they_are() -> None:
    images = drawn(20, 8, 8, 1)
    before = images.copy()
    assert not np.array_equal(Policy(RANDOM)(images, (1,)), images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize(
    "transforms",
    [
        {},
        {"flip": None},
        {"flip": {"_target_": "albumentations.HorizontalFlip", "p": 0}},
        {"flip": {"_target_": "albumentations.HorizontalFlip", "p": 0.0}, "noise": None},
    ],
)
def test_what_is_turned_off_changes_nothing(transforms: Transforms) -> None:
    images = drawn(20, 8, 8, 3)
    np.testing.assert_array_equal(Policy(transforms)(images, (1,)), images)


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "albumentations.Rotate", "limits": 10}, ["flip", "limits"]),
        ({"_target_": "albumentations.Rotate", "limit": "far"}, ["albumentations.Rotate", "limit", "far"]),
        ({"_target_": "albumentations.GaussNoise", "std_range": [0.5, 7]}, ["std_range", "7"]),
        ({"_target_": "albumentations.HorizontalFlip", "p": 1.5}, ["albumentations.HorizontalFlip", "1.5"]),
        ({"_target_": "albumentations.HorizontalFlip", "p": "often"}, ["often"]),
        ({"_target_": "albumentations.HorizontalFlip", "p": None}, ["None"]),
        ({"_target_": "albumentations.HorizontalFlap"}, ["albumentations.HorizontalFlap does not exist"]),
        ({"_target_": "albumentations.os.system"}, ["must be of the form albumentations.<Class>"]),
        ({"_target_": "torch.optim.SGD", "lr": 1}, ["must be of the form albumentations.<Class>"]),
        ({}, ["must be of the form albumentations.<Class>", "None"]),
    ],
)
def test_a_wrong_transform_is_refused_with_what_is_wrong(node: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        Policy({"flip": node})
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("node", "became"),
    [
        ({"_target_": "albumentations.Resize", "height": 4, "width": 5}, r"\(8, 8, 1\) became \(4, 5, 1\)"),
        ({"_target_": "albumentations.CenterCrop", "height": 6, "width": 8}, r"\(8, 8, 1\) became \(6, 8, 1\)"),
        ({"_target_": "albumentations.ToRGB"}, r"\(8, 8, 1\) became \(8, 8, 3\)"),
    ],
)
def test_a_transform_that_changes_the_size_is_refused(node: dict[str, Any], became: str) -> None:
    with pytest.raises(ConfigError, match=rf"must keep the size of the images, {became}"):
        Policy({"size": {**node, "p": 1.0}})(drawn(2, 8, 8, 1), (1,))


@pytest.mark.parametrize("target", ["albumentations.ToFloat", "albumentations.Normalize"])
def test_a_transform_that_changes_the_type_is_refused(target: str) -> None:
    with pytest.raises(ConfigError, match="uint8"):
        Policy({"type": {"_target_": target, "p": 1.0}})(drawn(2, 8, 8, 3), (1,))


@pytest.mark.parametrize("option", sorted(path.stem for path in (ROOT / "conf" / "augment").glob("*.yaml")))
@pytest.mark.parametrize("shape", [(60, 8, 8, 1), (60, 32, 24, 3)])
def test_each_policy_of_the_project_changes_pixels_and_keeps_shape_and_type(
    option: str, shape: tuple[int, ...]
) -> None:
    config = compose_config(ROOT / "conf", ROOT / "params.yaml", [f"augment={option}"])
    images = drawn(*shape)
    variants = Policy(config["augment"]["transforms"])(images, (1,))
    assert (variants.shape, variants.dtype) == (images.shape, np.uint8)
    changed = (variants != images).any(axis=(1, 2, 3)).mean()
    # Each transform acts on its own share of the images.
    untouched = np.prod([1 - node["p"] for node in config["augment"]["transforms"].values() if node])
    assert changed == pytest.approx(1 - untouched, abs=0.15)
    assert (changed == 0) == (option == "none")


# --- copies -----------------------------------------------------------------------------------------------------------


def test_one_process_and_two_write_the_same_bytes(tmp_path: Path) -> None:
    source = split_of(tmp_path / "train", CHUNK + 100, 8, 8, 1)
    copied(tmp_path / "one", source, RANDOM, copies=2, processes=1)
    copied(tmp_path / "two", source, RANDOM, copies=2, processes=2)
    for name in ("images.npy", "labels.npy"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_seed_decides_the_bytes(tmp_path: Path) -> None:
    source = split_of(tmp_path / "train", 50, 8, 8, 1)
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        copied(tmp_path / name, source, RANDOM, copies=2, seed=seed)
    first, again, other = ((tmp_path / name / "images.npy").read_bytes() for name in ("first", "again", "other"))
    assert first == again
    assert first != other


@pytest.mark.parametrize("processes", [None, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_copy_is_a_variant_of_the_original_in_its_row(
    tmp_path: Path, channels: int, processes: int | None
) -> None:
    size = CHUNK + 50
    source = split_of(tmp_path / "train", size, 8, 6, channels)
    originals, labels = read_split(source)
    images, image_labels = copied(tmp_path / "out", source, FLIP, copies=3, processes=processes)
    assert (images.shape, images.dtype) == ((3 * size, 8, 6, channels), np.uint8)
    assert image_labels.dtype == np.int64
    for copy in range(3):
        rows = slice(copy * size, (copy + 1) * size)
        np.testing.assert_array_equal(images[rows], originals[:, :, ::-1])
        np.testing.assert_array_equal(image_labels[rows], labels)


def test_no_two_copies_of_an_image_are_the_same(tmp_path: Path) -> None:
    size = CHUNK + 20
    with ArrayWriter(tmp_path / "train", (size, 8, 8, 1)) as writer:
        writer.images[:] = drawn(1, 8, 8, 1)
    images, _ = copied(tmp_path / "out", tmp_path / "train", NOISE, copies=2)
    assert len({image.tobytes() for image in images}) == 2 * size


@pytest.mark.parametrize("processes", [None, 1, 2])
def test_no_copies_are_empty_arrays(tmp_path: Path, processes: int | None) -> None:
    source = split_of(tmp_path / "train", 20, 8, 6, 3)
    images, labels = copied(tmp_path / "out", source, RANDOM, copies=0, processes=processes)
    assert (images.shape, images.dtype) == ((0, 8, 6, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((0,), np.int64)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "albumentations.HorizontalFlap"}, "does not exist"),
        ({"_target_": "albumentations.Resize", "height": 4, "width": 4, "p": 1}, "must keep the size"),
    ],
    ids=["unknown", "resizing"],
)
def test_a_wrong_transform_is_refused_in_any_number_of_processes(
    tmp_path: Path, node: dict[str, Any], words: str, processes: int
) -> None:
    source = split_of(tmp_path / "train", 20, 8, 8, 1)
    with pytest.raises(ConfigError, match=words):
        copied(tmp_path / "out", source, {"wrong": node}, copies=1, processes=processes)
