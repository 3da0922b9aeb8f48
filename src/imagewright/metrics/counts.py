"""Scores that follow from three counts of each class, for many resamples at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

__all__ = ["Counts"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Three counts of each class, float64, (..., K): all scores are (...), or (..., K) if they are by class.

    Attributes:
        hits: images of the class that are predicted as such.
        samples: images of the class.
        predictions: images that are predicted as of the class.
    """

    hits: Floats
    samples: Floats
    predictions: Floats

    @cached_property
    def precision(self) -> Floats:
        """Of each class; 0 without a prediction."""
        return _ratio(self.hits, self.predictions)

    @cached_property
    def recall(self) -> Floats:
        """Of each class; 0 without a sample."""
        return _ratio(self.hits, self.samples)

    @cached_property
    def f1(self) -> Floats:
        """Of each class; 0 without a sample and without a prediction."""
        return _ratio(2 * self.hits, self.samples + self.predictions)

    def macro(self, values: Floats) -> Floats:
        """Mean over the classes that have a sample or a prediction."""
        present = (self.samples + self.predictions) > 0
        return np.asarray((values * present).sum(-1) / present.sum(-1))

    def weighted(self, values: Floats) -> Floats:
        """Mean over the images, each with the value of its class."""
        return np.asarray((values * self.samples).sum(-1) / self.samples.sum(-1))

    def accuracy(self) -> Floats:
        return np.asarray(self.hits.sum(-1) / self.samples.sum(-1))

    def kappa(self) -> Floats:
        """Cohen's kappa; NaN if all samples and all predictions are of one and the same class."""
        images = self.samples.sum(-1)
        chance = (self.samples * self.predictions).sum(-1)
        most = images**2 - chance
        return _ratio(self.hits.sum(-1) * images - chance, most, undefined=np.nan)

    def matthews(self) -> Floats:
        """Correlation of Matthews for K classes; 0 if samples or predictions are of one class only.

        J. Gorodkin: Comparing two K-category assignments by a K-category correlation coefficient. Computational
        Biology and Chemistry 28 (2004).
        """
        images = self.samples.sum(-1)
        common = self.hits.sum(-1) * images - (self.samples * self.predictions).sum(-1)
        of_samples = images**2 - (self.samples**2).sum(-1)
        of_predictions = images**2 - (self.predictions**2).sum(-1)
        return _ratio(common, np.sqrt(of_samples) * np.sqrt(of_predictions))


def _ratio(above: Floats, below: Floats, undefined: float = 0) -> Floats:
    """A quotient, and ``undefined`` where it would divide by 0."""
    return np.asarray(np.divide(above, below, out=np.full_like(above, undefined), where=below > 0))
