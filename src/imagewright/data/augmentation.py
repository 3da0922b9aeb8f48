"""Augmentation by Albumentations. The only module that imports it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewright import targets
from imagewright.data.parallel import cores, in_processes
from imagewright.data.store import ArrayWriter, read_split
from imagewright.errors import ConfigError

# Read at import: without it, Albumentations asks the network for a newer version.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations
import cv2

__all__ = ["Policy", "write_copies"]

Images = npt.NDArray[np.uint8]

# Images drawn with one seed. It fixes the result, so it does not depend on the number of processes.
CHUNK = 512
# Below this number of variants, starting processes takes longer than drawing in this one.
WORTH_PROCESSES = 40 * CHUNK


class Policy:
    """Transforms applied one after the other, reproducibly."""

    def __init__(self, transforms: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Build the transforms.

        Args:
            transforms: name -> ``_target_`` and keys of a transform, or None for one that is turned off.

        Raises:
            ConfigError: Albumentations does not know a transform or one of its keys or values.
        """
        # A transform with probability 0 never acts, but would be asked for every image.
        nodes = {name: node for name, node in transforms.items() if node is not None and node.get("p", 0.5) != 0}
        self._compose = albumentations.Compose([_transform(name, node) for name, node in nodes.items()])

    def __call__(self, images: Images, seed: Sequence[int]) -> Images:
        """One variant of each image.

        Args:
            images: uint8, (B, H, W, C).
            seed: whole numbers that together decide what is drawn.

        Returns:
            uint8, (B, H, W, C).
        """
        self._compose.set_random_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        variants = np.empty_like(images)
        for row, image in enumerate(images):
            drawn = self._compose(image=image)["image"]
            if drawn.shape != image.shape:
                raise ConfigError(
                    f"augment.transforms: must keep the size of the images, {image.shape} became {drawn.shape}; "
                    f"leave out what crops or resizes"
                )
            if drawn.dtype != np.uint8:
                raise ConfigError(
                    f"augment.transforms: must keep images uint8, got {drawn.dtype}; leave out what normalizes"
                )
            variants[row] = drawn
        return variants


def _transform(name: str, node: Mapping[str, Any]) -> Any:
    with warnings.catch_warnings():
        # Albumentations only warns of keys that it does not know.
        warnings.simplefilter("error", UserWarning)
        try:
            return targets.build("augment", node)
        except UserWarning as error:
            raise ConfigError(f"augment.transforms.{name}: {' '.join(str(error).split())}") from error


def write_copies(
    folder: Path,
    source: Path,
    *,
    transforms: Mapping[str, Mapping[str, Any] | None],
    copies: int,
    seed: int,
    processes: int | None = None,
) -> Iterator[int]:
    """Write ``copies`` variants of each training image; the result does not depend on the number of processes.

    Args:
        folder: gets ``images.npy``, uint8 (copies * N, H, W, C), and ``labels.npy``; row ``copy * N + row`` is a
            variant of the image ``row`` of ``source``.
        source: folder of the training split, N images.
        transforms: as for :class:`Policy`.
        copies: variants of each image; 0 writes empty arrays.
        seed: decides what is drawn.
        processes: how many draw at once; by default one for each core, or none besides this one where the work is
            too small to be shared.

    Yields:
        the number of variants written since the last time.
    """
    images, labels = read_split(source)
    policy = Policy(transforms)  # also where workers build their own: here, what is wrong with it is said in one line
    chunks = [(copy, start) for copy in range(copies) for start in range(0, len(images), CHUNK)]
    with ArrayWriter(folder, (copies * len(images), *images.shape[1:])) as writer:
        writer.labels[:] = np.tile(labels, copies)
        if processes is None:
            processes = 1 if copies * len(images) < WORTH_PROCESSES else min(len(chunks), cores())
        if processes == 1 or not chunks:
            for chunk in chunks:
                yield _draw(policy, images, writer.images, chunk, seed)
            return
        # Workers map the files themselves, so no pixel travels between processes.
        writer.flush()
        yield from in_processes(
            _draw_in_worker,
            chunks,
            processes=processes,
            initializer=_start_worker,
            arguments=(folder, source, transforms, seed),
        )


def _draw(policy: Policy, images: Images, variants: Images, chunk: tuple[int, int], seed: int) -> int:
    copy, start = chunk
    originals = images[start : start + CHUNK]
    first = copy * len(images) + start
    variants[first : first + len(originals)] = policy(originals, (seed, copy, start))
    return len(originals)


_worker: tuple[Policy, Images, Images, int]


def _start_worker(folder: Path, source: Path, transforms: Mapping[str, Any], seed: int) -> None:
    global _worker
    cv2.setNumThreads(1)  # One process for each core; more threads would only wait for each other.
    variants = np.load(folder / "images.npy", mmap_mode="r+")
    _worker = Policy(transforms), read_split(source)[0], variants, seed


def _draw_in_worker(chunk: tuple[int, int]) -> int:
    policy, images, variants, seed = _worker
    return _draw(policy, images, variants, chunk, seed)
