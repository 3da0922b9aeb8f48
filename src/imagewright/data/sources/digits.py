"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.datasets import load_digits

from imagewright.data.sources import Pixels, Sample

__all__ = ["Digits"]

# The images count how many of 4x4 ink dots are set, 0 to 16.
_FULL = 16


class Digits:
    """1,797 grey images of 8×8 pixels in 10 classes.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (the test part), as scikit-learn's ``load_digits`` gives it.
    """

    def __init__(self, image_size: Sequence[int], channels: int) -> None:
        """Load the images, which scikit-learn has in memory.

        Args:
        image_size: (H, W) in pixels; the configuration allows 8×8 only.
        channels: C; the configuration allows 1 only.
        """
        digits = load_digits()
        self._images = digits.images
        self._labels = digits.target
        self._shape = (*image_size, channels)
        self.classes = [str(name) for name in digits.target_names]

    def samples(self) -> Sequence[Sample]:
        return [Sample(path=f"digits/{index:04d}", label=int(label)) for index, label in enumerate(self._labels)]

    def read(self, sample: Sample) -> Pixels:
        ink = self._images[int(sample.path.removeprefix("digits/"))]
        pixels: Pixels = np.rint(ink * (255 / _FULL)).astype(np.uint8).reshape(self._shape)
        return pixels
