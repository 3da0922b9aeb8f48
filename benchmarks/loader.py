"""Loading: images a second of imagewright's loader against a per-sample ``Dataset``.

    python benchmarks/loader.py

60,000 grey uint8 images of 28x28 pixels lie in memory. A repetition is one shuffled epoch in batches of 128, in one
process and one thread, in which each batch is fetched and dropped. There are two variants. In each, both sides yield
the same:

- uint8: images uint8 (B, 1, 28, 28) and labels int64 (B,).
- normalized: images float32 (B, 1, 28, 28), less their mean and divided by their standard deviation, and the labels.
  Ours applies the layer ``InputNormalization`` to the batch, as its networks do. The yardstick converts and normalizes
  each image in ``__getitem__``, as tutorials do.

The yardstick is ``DataLoader(dataset, batch_size=128, shuffle=True, num_workers=0)`` with the default collate. Its
pixels are one tensor and its labels a list of numbers, the quickest forms to take single samples from. Before the
timing, an unshuffled epoch shows that both sides give equal content. They cut it differently: the sizes of our batches
differ by one at most, the yardstick ends with a smaller batch; the number of batches is the same.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from imagewright.data.loader import Arrays, ImageBatches, make_loader
from imagewright.models.layers import InputNormalization
from turns import machine, pair, print_table, take_turns

SIDE = 28  # pixels
CLASSES = 10
BATCH_SIZE = 128

Batches = Iterator[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Work:
    """What both sides yield.

    Attributes:
        arrays: images uint8 (N, H, W, 1) and labels int64 (N,).
        mean: of the pixel values.
        std: of the pixel values.
        normalized: float32 images of mean 0 and standard deviation 1, instead of the uint8 ones.
    """

    arrays: Arrays
    mean: float
    std: float
    normalized: bool


class Samples(Dataset[tuple[Tensor, int]]):
    """The yardstick: one image at a time."""

    def __init__(self, work: Work) -> None:
        images, labels = work.arrays
        self._images = torch.from_numpy(images).permute(0, 3, 1, 2)
        self._labels = labels.tolist()
        self._mean, self._std = work.mean / 255, work.std / 255
        self._normalized = work.normalized

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        image = self._images[row]
        if self._normalized:
            image = image.to(torch.float32).div_(255).sub_(self._mean).div_(self._std)
        return image, self._labels[row]


def our_batches(work: Work, *, shuffle: bool) -> Batches:
    layer = InputNormalization([work.mean], [work.std])
    for images, labels in make_loader(ImageBatches([work.arrays]), BATCH_SIZE, shuffle=shuffle):
        yield (layer(images) if work.normalized else images), labels


def sample_batches(work: Work, *, shuffle: bool) -> Batches:
    yield from DataLoader(Samples(work), batch_size=BATCH_SIZE, shuffle=shuffle, num_workers=0)


def check_equal(work: Work) -> None:
    """Refuse to time two things that differ in content, type or shape."""
    (images, labels), (other_images, other_labels) = (
        tuple(torch.cat(parts) for parts in zip(*batches(work, shuffle=False), strict=True))
        for batches in (our_batches, sample_batches)
    )
    torch.testing.assert_close(labels, other_labels, rtol=0, atol=0)
    # The yardstick divides by 255 on its way, so the last digits may differ.
    tolerance = 1e-5 if work.normalized else 0
    torch.testing.assert_close(images, other_images, rtol=tolerance, atol=tolerance)


def images_per_second(batches: Callable[..., Batches], work: Work) -> float:
    """Speed of one epoch, the making of the loader included."""
    start = time.perf_counter()
    for _ in batches(work, shuffle=True):
        pass
    return len(work.arrays[1]) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=9, help="epochs of each side that count (default: 9)")
    parser.add_argument("--images", type=int, default=60_000, help="images in an epoch (default: 60000)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (arguments.images, SIDE, SIDE, 1), dtype=np.uint8)
    arrays = images, random.integers(0, CLASSES, arguments.images)
    rows = []
    for variant, normalized in (("uint8", False), ("normalized float32", True)):
        work = Work(arrays, float(images.mean()), float(images.std()), normalized)
        check_equal(work)
        speeds = take_turns(
            {
                f"ours, {variant}": functools.partial(images_per_second, our_batches, work),
                f"per-sample Dataset, {variant}": functools.partial(images_per_second, sample_batches, work),
            },
            arguments.repetitions,
            warm_up=True,
        )
        rows.append((variant, *pair(*speeds.values())))
    print_table(
        f"Loading {arguments.images:,} images of {SIDE}x{SIDE}x1 in batches of {BATCH_SIZE}, median of "
        f"{arguments.repetitions}. {machine()}",
        ("batches", "ours, images/s", "per-sample Dataset, images/s", "ours / per-sample", "by turn"),
        rows,
        ("", ",.0f", ",.0f", ".1f", ""),
    )


if __name__ == "__main__":
    main()
