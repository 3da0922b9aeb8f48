"""Batches for training: whole index arrays instead of single samples.

PyTorch's usual ``Dataset`` fetches, converts and stacks one image at a time. Here the sampler yields the rows of a
whole batch, which are taken from the packed array at once; pixels stay uint8 until they are on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

__all__ = ["Arrays", "Batch", "ImageBatches", "make_loader"]

# images uint8 (N, H, W, C) and labels int64 (N,)
Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]
# Changes a batch of images (B, H, W, C), given a seed of whole numbers.
Augment = Callable[[npt.NDArray[np.uint8], Sequence[int]], npt.NDArray[np.uint8]]


class Batch(NamedTuple):
    """Which rows make a batch, and its place in the training, which seeds its augmentation."""

    epoch: int
    number: int
    rows: npt.NDArray[np.int64]


class ImageBatches(Dataset[tuple[Tensor, Tensor]]):
    """Packed arrays, read by whole batches; several arrays count as one after the other."""

    def __init__(
        self,
        arrays: Sequence[Arrays],
        augment: Augment | None = None,
        seed: int = 0,
        *,
        channels_last: bool = True,
    ) -> None:
        """Put the arrays one after the other.

        Args:
        arrays: images and labels; all of the same H, W and C.
        augment: draws a variant of each image of a batch, or None.
        seed: of these draws, together with the epoch and the number of the batch.
        channels_last: memory order of the batches; the other one costs a copy.
        """
        filled = [(images, labels) for images, labels in arrays if len(labels)]
        # A plain view: taking rows of numpy's memmap class costs more, for nothing that is needed here.
        self._images = [np.asarray(images) for images, _ in filled]
        self._labels = np.concatenate([labels for _, labels in filled])
        self._starts = np.cumsum([0, *(len(labels) for _, labels in filled)])
        self._augment = augment
        self._seed = seed
        self._channels_last = channels_last

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Images, uint8 (B, C, H, W), and labels, int64 (B,)."""
        images = self._take(batch.rows)
        if self._augment is not None:
            images = self._augment(images, (self._seed, batch.epoch, batch.number))
        # The arrays are (H, W, C) in memory, so this view is channels last at no cost.
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2)
        labels = torch.from_numpy(self._labels.take(batch.rows))
        return pixels if self._channels_last else pixels.contiguous(), labels

    def _take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        if len(self._images) == 1:
            return self._images[0].take(rows, axis=0)
        taken = np.empty((len(rows), *self._images[0].shape[1:]), dtype=np.uint8)
        for images, start, end in zip(self._images, self._starts, self._starts[1:], strict=False):
            mine = np.flatnonzero((rows >= start) & (rows < end))
            taken[mine] = images.take(rows[mine] - start, axis=0)
        return taken


class _BatchSampler(Sampler[Batch]):
    """Yields batches of rows: ``ceil(N / batch_size)`` in an epoch, whose sizes differ by one at most.

    Equal sizes spare batch norm a last batch of one image.
    """

    def __init__(self, size: int, batch_size: int, shuffle: bool, seed: int) -> None:
        self._size = size
        self._batches = -(-size // batch_size)
        self._shuffle = shuffle
        self._seed = seed
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch; decides the order."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        rows = np.arange(self._size)
        if self._shuffle:
            rows = np.random.default_rng((self._seed, self._epoch)).permutation(rows)
        for number, part in enumerate(np.array_split(rows, self._batches)):
            yield Batch(self._epoch, number, part)


class _Loader(DataLoader[tuple[Tensor, Tensor]]):
    """A ``DataLoader`` that reads by a plain loop where it needs no processes.

    Around each batch, PyTorch's own loop costs about as much time as taking its rows does.
    """

    def __iter__(self) -> Any:
        if self.num_workers or self.pin_memory:
            return super().__iter__()
        return map(self.dataset.__getitem__, self.sampler)


def _as_it_is(batch: Any) -> Any:
    """Batches are tensors already."""
    return batch


def make_loader(
    batches: ImageBatches,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    workers: int = 0,
    pin_memory: bool = False,
) -> DataLoader[tuple[Tensor, Tensor]]:
    """A loader of ``ceil(N / batch_size)`` batches in an epoch.

    Args:
        batches: what to read from.
        batch_size: most images in a batch.
        shuffle: draw the order anew in each epoch.
        seed: of the order, together with the epoch.
        workers: processes that prepare batches ahead; the result does not depend on their number.
        pin_memory: for faster copies to a GPU.
    """
    return _Loader(
        batches,
        batch_size=None,
        sampler=_BatchSampler(len(batches), batch_size, shuffle, seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        collate_fn=_as_it_is,
        # The loader draws seeds for its workers, and must not draw them from the generator that dropout uses.
        generator=torch.Generator().manual_seed(seed),
    )
