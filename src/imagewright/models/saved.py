"""A model as it is saved: a network with its input normalization, class names and input size.

What is loaded here is data: tensors, numbers and texts. No code in a file runs.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from imagewright import targets
from imagewright.errors import DataError
from imagewright.models.layers import InputNormalization

__all__ = ["SavedModel", "build_network", "load_model"]

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


@dataclass(frozen=True)
class SavedModel:
    """A network and what belongs to it.

    Attributes:
    network: takes raw pixels, uint8 (B, C, H, W), gives logits (B, K).
    classes: K names.
    input_shape: (C, H, W).
    """

    network: nn.Module
    classes: list[str]
    input_shape: tuple[int, int, int]


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
        prefix = "network."
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        )
    except FileNotFoundError as error:
        raise DataError(f"{checkpoint}: not found; run `dvc repro` first") from error
    except _BROKEN as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise DataError(
            f"{checkpoint}: is no checkpoint that imagewright can load as plain data ({reason}); run `dvc repro` again"
        ) from error
    return SavedModel(network.eval(), classes, (channels, height, width))
