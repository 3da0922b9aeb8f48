"""The bootstrap over images: what is drawn, and the interval that follows.

B. Efron: Bootstrap methods: another look at the jackknife. The Annals of Statistics 7 (1979).

Resample r takes the images of the r-th call of ``rng.integers(0, N, N)``, where ``rng`` is
``numpy.random.default_rng(seed)`` and nothing else is drawn from it: equal seeds and N give equal resamples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

__all__ = ["interval", "intervals_of_columns", "resampled", "totals_by"]

Floats = npt.NDArray[np.float64]


def totals_by(codes: npt.NDArray[np.int64], size: int, values: npt.NDArray[np.generic] | None = None) -> csr_array:
    """Statistics to draw: row c is the total of the values of the images with code c.

    Args:
        codes: from 0 to size - 1, (N,).
        size: of the codes.
        values: (N,); 1 each by default.

    Returns:
        (size, N).
    """
    images = len(codes)
    totals = np.ones(images) if values is None else values.astype(np.float64)
    return csr_array((totals, (codes, np.arange(images))), shape=(size, images))


def resampled(statistics: csr_array, resamples: int, seed: int) -> Floats:
    """Totals of statistics over the images of each resample.

    Args:
        statistics: row s is what each of N images adds to statistic s, (S, N).
        resamples: R.
        seed: of the draws.

    Returns:
        (R, S).
    """
    size, images = statistics.shape
    random = np.random.default_rng(seed)
    totals = np.empty((resamples, size))
    for row in totals:
        times = np.bincount(random.integers(0, images, images), minlength=images)
        row[:] = statistics @ times.astype(np.float64)
    return totals


def interval(values: Floats, confidence: float) -> tuple[float, float] | None:
    """The middle share ``confidence`` of the values, (R,), without those that are undefined; None if all are."""
    defined = values[~np.isnan(values)]
    return intervals_of_columns(defined[:, None], confidence)[0] if len(defined) else None


def intervals_of_columns(values: Floats, confidence: float) -> list[tuple[float, float]]:
    """The middle share ``confidence`` of each column of values that are all defined, (R, K)."""
    ends = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return [(low, high) for low, high in ends.T.tolist()]
