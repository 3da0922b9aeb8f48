"""Images that are the same: exactly, by their pixels, or nearly, by what is seen.

Near duplicates are found in two steps. A perceptual hash of 63 bits (which of the low frequencies of a discrete cosine
transform are above their median; C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010)
names the candidates; the correlation of the pixels settles them, so that two photos of the same kind are not taken for
the same photo.
A smaller, recompressed, brightened or slightly blurred copy is found; a mirrored, rotated or cropped one is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from imagewright.data.findings import DuplicateGroup
from imagewright.errors import DataError

__all__ = ["find_duplicates", "join", "perceptual_hash"]

Images = npt.NDArray[np.uint8]
Rows = npt.NDArray[np.int64]

FLAT = np.uint64(0)  # the hash of an image without structure, which looks like any other of its kind

# Of the channels in what is seen as grey, by their number (ITU-R BT.601).
_WEIGHTS = {1: np.array([1.0], np.float32), 3: np.array([0.299, 0.587, 0.114], np.float32)}
_STEPS = 1024  # of a frequency's share in a grey level
_SIDE = 8  # frequencies of the hash, in either direction
_THUMBNAIL = 32  # side of the picture whose pixels are compared
_LEAST_SPREAD = 2.0  # standard deviation in pixel values below which an image is flat
_PAIRS = 1 << 16  # candidates looked at in one step
_MOST_PAIRS = 2_000_000_000  # some half a minute
_BYTES = 8 * 2**20  # of pixels that are compared in one step


def perceptual_hash(images: Images) -> npt.NDArray[np.uint64]:
    """A hash of each image, whose bits differ little where images look alike; FLAT where there is nothing to see.

    Args:
        images: uint8, (B, H, W, C).

    Returns:
        uint64, (B,).
    """
    count, height, width, channels = images.shape
    down, across = _cosines(height), _cosines(width)
    # Rows first: the eight lowest frequencies are all that goes on from here. (8, H) · (B, H, W * C)
    lower = (down @ images.reshape(count, height, -1).astype(np.float32)).reshape(count, _SIDE, width, channels)
    spectrum = np.einsum("bkwc,lw,c->bkl", lower, across, _WEIGHTS[channels], optimize=True)
    # Without the mean, which is brightness. What is 0 but for rounding is 0, however the sums were ordered.
    low = np.rint(spectrum.reshape(count, -1)[:, 1:] * (_STEPS / np.sqrt(height * width)))
    bits = low > np.median(low, axis=1, keepdims=True)
    packed = np.ascontiguousarray(np.packbits(np.pad(bits, ((0, 0), (1, 0))), axis=1))
    hashes: npt.NDArray[np.uint64] = packed.view(">u8").astype(np.uint64).reshape(count)
    energy = np.sqrt((low**2).sum(axis=1)) / _STEPS
    return np.where(energy < _LEAST_SPREAD, FLAT, hashes)


def _cosines(size: int) -> npt.NDArray[np.float32]:
    """The first rows of the orthonormal DCT-II, (8, size)."""
    frequency, position = np.arange(_SIDE)[:, None], np.arange(size)[None, :]
    rows = np.cos(np.pi / size * (position + 0.5) * frequency) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    rows[frequency[:, 0] >= size] = 0
    cosines: npt.NDArray[np.float32] = rows.astype(np.float32)
    return cosines


def find_duplicates(
    digests: npt.NDArray[np.void],
    hashes: npt.NDArray[np.uint64],
    pixels: Callable[[Rows], Images],
    *,
    near: bool,
    max_distance: int,
    min_correlation: float,
) -> list[DuplicateGroup]:
    """Groups of equal images, and groups of images that look the same.

    A near group holds at least two images whose pixels differ; equal images of theirs stand in it, too.

    Args:
        digests: of the pixels of N images, (N,).
        hashes: by :func:`perceptual_hash`, (N,).
        pixels: gives the pixels of some rows, uint8 (B, H, W, C).
        near: whether near duplicates are looked for.
        max_distance: bits of the hash in which candidates may differ.
        min_correlation: of the pixels of a near duplicate, at most 1.

    Raises:
        DataError: too many images look alike for the hash to tell them apart.
    """
    first, same = _equal(digests)
    groups = [DuplicateGroup("exact", members) for members in _members(same)]
    if not near:
        return groups
    distinct = np.sort(first[hashes[first] != FLAT])
    joined = same
    touched = np.zeros(len(digests), dtype=np.bool_)
    for pairs in _candidates(hashes[distinct], distinct, max_distance):
        # What chains of others hold together already needs no further proof.
        open_pairs = pairs[joined[pairs[:, 0]] != joined[pairs[:, 1]]]
        linked = open_pairs[_correlation(pixels, open_pairs) >= min_correlation]
        if len(linked):
            touched[linked] = True
            joined = _merged(joined, linked)
    looks = set(joined[touched].tolist())
    return groups + [DuplicateGroup("near", rows) for rows in _members(joined) if joined[rows[0]] in looks]


def join(count: int, groups: Iterable[Sequence[int]]) -> npt.NDArray[np.int64]:
    """A number for each of ``count`` rows, the same for rows that groups, or chains of groups, hold together."""
    links = np.array([pair for group in groups for pair in pairwise(group)], dtype=np.int64).reshape(-1, 2)
    return _merged(np.arange(count), links)


def _merged(group_of: Rows, links: Rows) -> Rows:
    """The groups once the rows of each link, (L, 2), are in the same one."""
    # Takes a while to import, and each process that decodes would do so.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    size = int(group_of.max(initial=-1)) + 1
    ends = group_of[links]
    graph = coo_array((np.ones(len(links), np.int8), (ends[:, 0], ends[:, 1])), shape=(size, size))
    component: Rows = connected_components(graph, directed=False)[1].astype(np.int64)[group_of]
    return component


def _equal(digests: npt.NDArray[np.void]) -> tuple[Rows, Rows]:
    """The first row of each digest, and the number of the digest of each row."""
    # Of SHA-256, 128 bits tell images apart as well, and numbers sort faster than bytes.
    low, high, *_ = np.ascontiguousarray(digests).view(np.uint64).reshape(-1, 4).T
    order = np.lexsort((high, low))
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.cumsum(fresh) - 1
    return order[fresh], number


def _members(group_of: npt.NDArray[np.int64]) -> list[tuple[int, ...]]:
    """Rows with the same number, where there are two or more; by their first row."""
    order = np.argsort(group_of, kind="stable")
    starts = np.flatnonzero(np.diff(group_of[order], prepend=-1))
    sizes = np.diff(starts, append=len(order))
    shared = [
        tuple(order[start : start + size].tolist())
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True)
    ]
    return sorted(shared)


def _candidates(hashes: npt.NDArray[np.uint64], rows: Rows, max_distance: int) -> Iterator[Rows]:
    """Pairs of rows whose hashes differ in ``max_distance`` bits or less, (P, 2), each pair once.

    Of so many bands of bits and one more, two such hashes agree in at least one: only within a band's equal values are
    pairs looked at.
    """
    bands = [int(edge) for edge in np.linspace(0, 64, max_distance + 2)]
    masks = [np.uint64(((1 << (high - low)) - 1) << low) for low, high in pairwise(bands)]
    for number, mask in enumerate(masks):
        order = np.argsort(hashes & mask, kind="stable")
        ordered = hashes[order]
        key = ordered & mask
        # After each hash, those with the same band.
        followers = np.searchsorted(key, key, side="right") - np.arange(len(key)) - 1
        if followers.sum() > _MOST_PAIRS:
            raise DataError(
                f"data.duplicates: {len(rows)} images look so much alike that {followers.sum():,} pairs would have to "
                f"be compared; lower data.duplicates.max_distance, or set data.duplicates.near to false"
            )
        for start, end in _portions(followers):
            counts = followers[start:end]
            left = np.repeat(np.arange(start, end), counts)
            # The k-th of the pairs of a hash is with the k-th after it.
            right = np.arange(len(left)) + np.repeat(np.arange(start, end) + 1 + counts - np.cumsum(counts), counts)
            difference = ordered[left] ^ ordered[right]
            close = np.flatnonzero(np.bitwise_count(difference) <= max_distance)
            # A pair that agrees in an earlier band was found there.
            for earlier in masks[:number]:
                close = close[(difference[close] & earlier) != 0]
            if len(close):
                yield np.sort(rows[order[np.stack([left[close], right[close]], axis=1)]], axis=1)


def _portions(counts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of positions with about ``_PAIRS`` in total, or with a single position."""
    totals = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = int(totals[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(totals, before + _PAIRS, side="right")))
        yield start, end
        start = end


def _correlation(pixels: Callable[[Rows], Images], pairs: Rows) -> npt.NDArray[np.float64]:
    """Pearson's correlation of the thumbnails of each pair, (P,)."""
    result = np.empty(len(pairs))
    if not len(pairs):
        return result
    step = max(1, _BYTES // (2 * pixels(pairs[0, :1]).nbytes * 5))  # five times as much as float32 and sums
    for start in range(0, len(pairs), step):
        rows, place = np.unique(pairs[start : start + step], return_inverse=True)
        thumbnails = _thumbnails(pixels(rows))
        one, other = thumbnails[place.reshape(-1, 2)[:, 0]], thumbnails[place.reshape(-1, 2)[:, 1]]
        result[start : start + step] = (one * other).sum(axis=1)
    return result


def _thumbnails(images: Images) -> npt.NDArray[np.float32]:
    """Grey pictures of unit length around their mean, (B, pixels)."""
    count, height, width, _ = images.shape
    grey = images.astype(np.float32) @ _WEIGHTS[images.shape[3]]
    for axis, size in ((1, height), (2, width)):
        if size > _THUMBNAIL:
            edges = np.linspace(0, size, _THUMBNAIL, endpoint=False).astype(int)
            grey = np.add.reduceat(grey, edges, axis=axis) / np.diff(edges, append=size).reshape(
                (-1, 1) if axis == 1 else (-1,)
            )
    flat = grey.reshape(count, -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = np.divide(flat, length, out=np.zeros_like(flat), where=length > 0)
    return unit
