"""Labels that are probably wrong, by confident learning.

C. G. Northcutt, L. Jiang, I. L. Chuang: Confident learning: estimating uncertainty in dataset labels. Journal of
Artificial Intelligence Research 70 (2021), https://arxiv.org/abs/1911.00068.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SuspectedLabel", "suspected_labels"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

# A mean of equal probabilities differs from them by rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class SuspectedLabel:
    """An image that the classifier confidently takes for one of another class.

    Attributes:
        row: of the image, from 0.
        label: its class.
        suspected: the class that it probably is of.
        label_probability: of its class.
        suspected_probability: of the suspected class.
        margin: how much larger that is; below 0 if its own class is likelier, but not as likely as it is for others.
    """

    row: int
    label: int
    suspected: int
    label_probability: float
    suspected_probability: float
    margin: float


def suspected_labels(probabilities: Floats, labels: Labels) -> list[SuspectedLabel]:
    """Images off the diagonal of the confident joint.

    A class is confident of an image if its probability reaches the mean that it has over the images of that label. An
    image is suspected if the likeliest of the classes that are confident of it is not its label. Of equally likely
    classes that is the label, otherwise the first. A class without images has no mean, and no image is suspected to be
    of it.

    The probabilities must come from a classifier that was not trained on these images.

    Args:
        probabilities: (N, K).
        labels: (N,).

    Returns:
        the most suspicious first, by margin; of equal margins the first row.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    samples = np.bincount(labels, minlength=probabilities.shape[1])
    sums = np.bincount(labels, own, probabilities.shape[1])
    means = np.divide(sums, samples, out=np.full(len(samples), np.inf), where=samples > 0)
    confident = np.where(probabilities >= means - _ROUNDING, probabilities, -np.inf)
    likeliest = confident.argmax(1)
    most = confident[rows, likeliest]
    margins = most - own
    suspected = np.flatnonzero(np.isfinite(most) & (confident[rows, labels] < most))
    suspected = suspected[np.argsort(-margins[suspected], kind="stable")]
    columns = (rows, labels, likeliest, own, most, margins)
    return [SuspectedLabel(*row) for row in zip(*(column[suspected].tolist() for column in columns), strict=True)]
