"""Which images are for training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import train_test_split

from imagewright.errors import DataError

__all__ = ["SPLITS", "assign_splits"]

SPLITS = ("train", "validation", "test")


def assign_splits(
    labels: Sequence[int], validation: float, test: float, seed: int, classes: Sequence[str]
) -> list[str]:
    """Draw the splits class by class, by scikit-learn's ``train_test_split(stratify=...)``.

    Args:
        labels: class index of each of the N images.
        validation: share of all images.
        test: share of all images.
        seed: of the drawing.
        classes: names of the classes, for the message.

    Returns:
        train, validation or test for each image.

    Raises:
        DataError: a class has too few images to stand in each split.
    """
    counts = np.bincount(labels, minlength=len(classes))
    for name, count in zip(classes, counts, strict=True):
        if count < len(SPLITS):
            raise DataError(
                f"data: class {name!r} has {count} images; each class needs at least {len(SPLITS)}, one a split; "
                f"add images or leave the class out"
            )
    targets = np.asarray(labels)
    every = np.arange(len(targets))
    try:
        rest, test_rows = train_test_split(every, test_size=test, stratify=targets, random_state=seed)
        _, validation_rows = train_test_split(
            rest, test_size=validation / (1 - test), stratify=targets[rest], random_state=seed
        )
    except ValueError as error:
        raise DataError(
            f"data.split: validation {validation:g} and test {test:g} of {len(targets)} images in {len(classes)} "
            f"classes cannot be drawn class by class: {error}; choose other shares or add images"
        ) from error
    splits = np.full(len(targets), "train", dtype=object)
    splits[validation_rows] = "validation"
    splits[test_rows] = "test"
    for split in SPLITS:
        present = np.bincount(targets[splits == split], minlength=len(classes))
        for name, count, drawn in zip(classes, counts, present, strict=True):
            if drawn == 0:
                raise DataError(
                    f"data.split: none of the {count} images of class {name!r} falls to {split}; add images, leave the "
                    f"class out, or choose other shares than validation {validation:g} and test {test:g}"
                )
    return [str(split) for split in splits]
