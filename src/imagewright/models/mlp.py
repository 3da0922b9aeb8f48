"""A dense network: the baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from imagewright.models.layers import activation_layer

__all__ = ["MLP"]


class MLP(nn.Module):
    """Dense layers on the flattened pixels; it does not know which pixels are neighbours."""

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        hidden_units: Sequence[int],
        batch_norm: bool,
        activation: str,
        dropout: float,
    ) -> None:
        """Build the layers.

        Args:
        input_shape: (C, H, W).
        num_classes: K.
        hidden_units: units of each dense layer before the last.
        batch_norm: normalize each unit's output over the batch, before the activation.
        activation: name of the activation.
        dropout: share of units switched off after each hidden layer.
        """
        super().__init__()
        features = math.prod(input_shape)
        layers: list[nn.Module] = []
        for units in hidden_units:
            layers.append(nn.Linear(features, units, bias=not batch_norm))
            if batch_norm:
                layers.append(nn.BatchNorm1d(units))
            layers += [activation_layer(activation), nn.Dropout(dropout)]
            features = units
        self.layers = nn.Sequential(*layers, nn.Linear(features, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of float images (B, C, H, W)."""
        logits: Tensor = self.layers(images.flatten(1))
        return logits
