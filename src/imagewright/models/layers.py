"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

__all__ = ["InputNormalization", "activation_layer", "classifier"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation_layer(name: str) -> nn.Module:
    """A new activation by its name in ``conf/model/``."""
    return _ACTIVATIONS[name]()


class InputNormalization(nn.Module):
    """``(pixel - shift) / scale`` for each channel, as the first layer of a network.

    Inside the saved model, so that training and prediction cannot disagree.
    """

    shift: Tensor
    inverse_scale: Tensor

    def __init__(self, shift: Sequence[float], scale: Sequence[float]) -> None:
        """Keep the numbers as buffers, which are saved and not trained.

        Args:
        shift: C numbers, in pixel values.
        scale: C numbers above 0, in pixel values.
        """
        super().__init__()
        self.register_buffer("shift", torch.tensor(shift, dtype=torch.float32).view(1, -1, 1, 1))
        inverse = 1 / torch.tensor(scale, dtype=torch.float64)
        self.register_buffer("inverse_scale", inverse.to(torch.float32).view(1, -1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """uint8 or float (B, C, H, W) to float32 (B, C, H, W), in the same memory order."""
        # One new tensor, changed in place.
        values = pixels.to(torch.float32, copy=True)
        shift, inverse_scale, target = self.shift, self.inverse_scale, values
        channels, width = values.shape[1], values.shape[3]
        pixel_by_pixel = values.permute(0, 2, 3, 1)
        if channels > 1 and pixel_by_pixel.is_contiguous():
            # Channels last: by rows of W * C numbers. A loop over the C of each pixel takes four times as long.
            target = pixel_by_pixel.flatten(2)
            shift, inverse_scale = (numbers.flatten().repeat(width) for numbers in (shift, inverse_scale))
        target.sub_(shift).mul_(inverse_scale)
        return values


def classifier(
    features: int, hidden_units: Sequence[int], num_classes: int, activation: str, dropout: float
) -> nn.Module:
    """Dense layers from (B, features) to logits (B, K), with dropout before each of them."""
    layers: list[nn.Module] = []
    for units in hidden_units:
        layers += [nn.Dropout(dropout), nn.Linear(features, units), activation_layer(activation)]
        features = units
    return nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(features, num_classes))
