"""Small networks that have learnt something, saved as a training saves them, and images that they tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax
from sklearn.datasets import load_digits
from torch import nn

from hostile import CLASSES, texture
from imagewright.models.saved import build_network, load_model
from imagewright.names import shown

__all__ = [
    *("CNN", "COLOURS", "DIGITS", "MLP", "PREPROCESSING", "RESNET", "TINTS"),
    *("colour_checkpoint", "colour_images", "digit_checkpoint", "digit_images", "expected", "save"),
]

Images = npt.NDArray[np.uint8]

PREPROCESSING: dict[str, Any] = {
    "fit": "crop",
    "background": [255, 255, 255],
    "value_range": "type",
    "max_pixels": 10**6,
    "min_side": 4,
}
DIGITS = [str(digit) for digit in range(10)]
COLOURS = [shown(name) for name in CLASSES]
TINTS = ((220, 60, 40), (50, 200, 70), (40, 70, 220), (190, 180, 60))
CNN = {
    "_target_": "imagewright.models.cnn.CNN",
    "channels": [8, 16],
    "kernel_size": 3,
    "stride": 1,
    "padding": "same",
    "pooling": "max",
    "pool_size": 2,
    "batch_norm": True,
    "activation": "relu",
    "head": "flatten",
    "hidden_units": [],
    "dropout": 0.2,
}
MLP = {
    "_target_": "imagewright.models.mlp.MLP",
    "hidden_units": [24],
    "batch_norm": True,
    "activation": "gelu",
    "dropout": 0.1,
}
RESNET = {
    "_target_": "imagewright.models.resnet.ResNet",
    "channels": [8, 8],
    "blocks": 1,
    "stem_stride": 1,
    "activation": "silu",
    "dropout": 0.0,
}


def digit_images(first: int, count: int) -> tuple[Images, npt.NDArray[np.int64]]:
    """Images (N, 8, 8, 1) of scikit-learn's digits, as the pipeline stores them, and labels (N,)."""
    digits = load_digits()
    part = slice(first, first + count)
    return np.rint(digits.images[part] * 255 / 16).astype(np.uint8)[..., None], digits.target[part]


def colour_images(count: int, seed: int) -> tuple[Images, npt.NDArray[np.int64]]:
    """Images (N, 48, 40, 3), and labels (N,)."""
    labels = np.arange(count) % len(TINTS)
    return np.stack([texture(seed + row, TINTS[label]) for row, label in enumerate(labels)]), labels


def digit_checkpoint(path: Path, network: Mapping[str, Any] = CNN, **preprocessing: Any) -> Path:
    return save(path, network, *digit_images(0, 600), DIGITS, **preprocessing)


def colour_checkpoint(path: Path, network: Mapping[str, Any] = CNN, **preprocessing: Any) -> Path:
    """A network for images of 24 by 20 pixels."""
    images, labels = colour_images(64, 0)
    return save(path, network, images[:, ::2, ::2], labels, COLOURS, **preprocessing)


def save(
    path: Path,
    network: Mapping[str, Any],
    images: Images,
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    **preprocessing: Any,
) -> Path:
    """Train for a moment, and write a checkpoint."""
    torch.manual_seed(0)
    pixels, targets = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()), torch.from_numpy(labels)
    channels = pixels.shape[1]
    numbers = {"shift": [120.0 + channel for channel in range(channels)], "scale": [70.0] * channels}
    trained = build_network(network, pixels.shape[1:], len(classes), **numbers)
    optimizer = torch.optim.Adam(trained.parameters(), lr=0.01)
    for _ in range(40):
        rows = torch.randint(0, len(pixels), (32,))
        optimizer.zero_grad()
        nn.functional.cross_entropy(trained(pixels[rows]), targets[rows]).backward()
        optimizer.step()
    made = {
        "network": dict(network),
        "input_shape": list(pixels.shape[1:]),
        "classes": list(classes),
        "preprocessing": {**PREPROCESSING, **preprocessing},
        **numbers,
    }
    state = {f"network.{name}": value for name, value in trained.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"hyper_parameters": made, "state_dict": state}, path)
    return path


@torch.no_grad()
def expected(checkpoint: Path, images: Images) -> npt.NDArray[np.float64]:
    """Probabilities (N, K) by the plain network and SciPy."""
    logits = load_model(checkpoint).network(torch.tensor(images.transpose(0, 3, 1, 2).copy()))
    shares: npt.NDArray[np.float64] = softmax(logits.numpy().astype(np.float64), axis=1)
    # Otherwise a comparison would say nothing.
    assert len(np.unique(shares.argmax(1))) > 1 or len(images) == 1
    return shares
