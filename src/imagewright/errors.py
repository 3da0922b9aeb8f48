"""The errors that a user can cause, and only those.

    ImagewrightError        what is wrong, where, the rule, the value, what to do
    ├── ConfigError         a key, option or value of params.yaml, conf/ or the command line
    ├── DataError           a source, an image or an artefact of an earlier stage
    ├── TrainingError       a training that gave no usable model
    └── TrackingError       the MLflow store

Commands print the message without a traceback and exit with status 2. Anything else that is raised is a defect of
imagewright and shows its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ConfigError",
    "DataError",
    "ImagewrightError",
    "TrackingError",
    "TrainingError",
    "choices_hint",
]


class ImagewrightError(Exception):
    """Something that the user can mend; the message says how."""


class ConfigError(ImagewrightError):
    """A key, an option or a value of the configuration breaks a rule."""


class DataError(ImagewrightError):
    """A source or an artefact is missing, broken or does not fit."""


class TrainingError(ImagewrightError):
    """The training gave no usable model."""


class TrackingError(ImagewrightError):
    """The MLflow store cannot be used."""


def choices_hint(wrong: object, valid: Iterable[str]) -> str:
    """Say what could have been meant: the nearest match, if there is one, and all valid choices."""
    names = sorted(valid)
    near = difflib.get_close_matches(str(wrong), names, n=1, cutoff=0.6)
    meant = f"did you mean {near[0]!r}? " if near else ""
    return f"{meant}valid: {', '.join(names)}"
