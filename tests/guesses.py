"""Predictions to score, with every case that a test split can have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
import torch

__all__ = ["CASES", "Case", "guesses", "softmax"]

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """So many images and classes, some of them without a sample or a prediction.

    With ``decimals``, logits are rounded, so that many probabilities are equal, within an image and between images.
    """

    size: int
    classes: int
    without_sample: tuple[int, ...] = ()
    without_prediction: tuple[int, ...] = ()
    decimals: int | None = None


CASES = [
    pytest.param(Case(*values), id="-".join(str(value).replace(" ", "") for value in values))
    for values in (
        (1, 2),
        (1, 3),
        (2, 2),
        (200, 2),
        (200, 2, (), (1,)),
        (200, 2, (1,), ()),
        (200, 2, (0,), (0,)),
        (200, 2, (0,), (1,)),
        (200, 2, (), (), 0),
        (300, 3),
        (300, 5, (2,), ()),
        (300, 5, (), (0, 4)),
        (300, 5, (1,), (1,)),
        (300, 5, (), (), 0),
        (300, 5, (0, 1, 2, 3), (0, 1, 2, 3)),
        (400, 10, (0, 3, 9), (3, 5, 9)),
        (400, 10, (0, 3, 9), (3, 5, 9), 0),
        (40, 20),
        (1000, 20),
    )
]


def guesses(case: Case, seed: int = 0, skill: float = 1.5) -> tuple[npt.NDArray[np.float32], Floats, Labels]:
    """Logits (N, K) that are right more often than not, their probabilities (N, K), and labels (N,)."""
    random = np.random.default_rng([case.size, case.classes, seed])
    labels = random.choice([index for index in range(case.classes) if index not in case.without_sample], case.size)
    logits = random.normal(size=(case.size, case.classes)) + skill * np.eye(case.classes)[labels]
    if case.decimals is not None:
        logits = logits.round(case.decimals)
    logits[:, list(case.without_prediction)] -= 15
    logits = logits.astype(np.float32)
    return logits, softmax(logits), labels


def softmax(logits: npt.NDArray[np.floating]) -> Floats:
    """Probabilities (N, K) by torch: NumPy rounds others, and what is equal of two images need not be so for both."""
    return torch.from_numpy(logits).double().softmax(1).numpy()
