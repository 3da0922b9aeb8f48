"""The handwritten digits that scikit-learn ships."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from imagewright.data.sources import Listing, Raw, Sample

__all__ = ["Digits"]

# The images count how many of 4x4 ink dots are set, 0 to 16.
_FULL = 16


class Digits:
    """1,797 grey images of 8×8 pixels in 10 classes.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (the test part), as scikit-learn's ``load_digits`` gives it.
    """

    def files(self) -> Iterator[Path]:
        """None: they come with scikit-learn."""
        return iter(())

    def listing(self) -> Listing:
        # scikit-learn takes a second to import, and `files` does without it.
        from sklearn.datasets import load_digits

        digits = load_digits()
        return Listing(
            classes=[str(name) for name in digits.target_names],
            samples=[Sample(f"digits/{index:04d}", int(label)) for index, label in enumerate(digits.target)],
        )

    def raw(self) -> Iterator[Raw]:
        from sklearn.datasets import load_digits

        for ink in load_digits().images:
            yield np.rint(ink * (255 / _FULL)).astype(np.uint8)
