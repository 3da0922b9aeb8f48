"""A model as it is saved: a network with its input normalization, class names, input size and preprocessing.

What is loaded here is data: tensors, numbers and texts. No code in a file runs.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from imagewright import targets
from imagewright.errors import DataError
from imagewright.models.layers import InputNormalization

__all__ = ["SavedModel", "as_preprocessing", "build_network", "load_model"]

# What torch raises for a file that is cut off, random bytes or something else.
_BROKEN = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    struct.error,
    pickle.UnpicklingError,
)


# What brings an image to the input shape: key -> what its value must be.
_PREPROCESSING: dict[str, Callable[[Any], bool]] = {
    "fit": lambda value: value in ("crop", "pad", "stretch"),
    "background": lambda value: len(value) == 3 and all(_is_whole(part) and 0 <= part <= 255 for part in value),
    "value_range": lambda value: value in ("type", "image"),
    "max_pixels": lambda value: _is_whole(value) and value > 0,
    "min_side": lambda value: _is_whole(value) and value > 0,
}


@dataclass(frozen=True)
class SavedModel:
    """A network and what belongs to it.

    Attributes:
        network: takes raw pixels, uint8 (B, C, H, W), gives logits (B, K).
        classes: K names.
        input_shape: (C, H, W).
        preprocessing: what brings an image to that shape: fit, background, value_range, max_pixels and min_side, as in
            section ``data``.
    """

    network: nn.Module
    classes: list[str]
    input_shape: tuple[int, int, int]
    preprocessing: dict[str, Any]

    @torch.inference_mode()
    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (B, K) of images (B, H, W, C)."""
        # torch warns of arrays that it could not write to, though it does not.
        pixels = torch.from_numpy(np.require(images, requirements="W")).permute(0, 3, 1, 2)
        shares: npt.NDArray[np.float32] = self.network(pixels).softmax(1).numpy()
        return shares


def build_network(
    section: Mapping[str, Any],
    input_shape: Sequence[int],
    num_classes: int,
    shift: Sequence[float],
    scale: Sequence[float],
) -> nn.Module:
    """A new network from raw pixels, uint8 (B, C, H, W), to logits (B, K).

    Args:
        section: section ``model`` of the configuration.
        input_shape: (C, H, W).
        num_classes: K.
        shift: of the input normalization, C numbers in pixel values.
        scale: of the input normalization, C numbers in pixel values.

    Raises:
        ConfigError: the network cannot be built for this input.
    """
    body = targets.build("model", section, input_shape=tuple(input_shape), num_classes=num_classes)
    return nn.Sequential(InputNormalization(shift, scale), body)


def as_preprocessing(given: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing that a file names, checked, since all that follows relies on it.

    Raises:
        LookupError, TypeError, ValueError: a key is missing, or has a value that it cannot have.
    """
    for key, holds in _PREPROCESSING.items():
        if not holds(given[key]):
            raise ValueError(f"preprocessing.{key} is {given[key]!r}")
    return {key: given[key] for key in _PREPROCESSING}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def load_model(checkpoint: Path) -> SavedModel:
    """Load the network of a checkpoint, on the CPU, ready to predict.

    Raises:
        DataError: the file is missing, broken, or not a checkpoint of imagewright.
        ConfigError: it names a network that is not one of imagewright's.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
        made, state = saved["hyper_parameters"], saved["state_dict"]
        channels, height, width = made["input_shape"]
        classes = [str(name) for name in made["classes"]]
        network = build_network(made["network"], (channels, height, width), len(classes), made["shift"], made["scale"])
        if "preprocessing" not in made:
            raise DataError(
                f"{checkpoint}: is of an earlier version, and does not say how images are brought to its input; train "
                f"again with `dvc repro`"
            )
        preprocessing = as_preprocessing(made["preprocessing"])
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
    except FileNotFoundError as error:
        raise DataError(f"{checkpoint}: not found; run `dvc repro` first") from error
    except _BROKEN as error:
        # torch's own words advise to load files that may run code.
        raise DataError(
            f"{checkpoint}: is no checkpoint that imagewright can load as plain data ({type(error).__name__}); name "
            f"another file, or run `dvc repro` again"
        ) from error
    return SavedModel(network.eval(), classes, (channels, height, width), preprocessing)
