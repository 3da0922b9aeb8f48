"""A small residual network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from imagewright.models.layers import activation_layer, classifier

__all__ = ["ResNet"]


class ResNet(nn.Module):
    """Stages of residual blocks, after He et al. 2015, section 4.2 (https://arxiv.org/abs/1512.03385).

    Where a block changes the number of filters or the size, its shortcut is a 1×1 convolution (their option B).
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        channels: Sequence[int],
        blocks: int,
        stem_stride: int,
        activation: str,
        dropout: float,
    ) -> None:
        """Build the layers.

        Args:
        input_shape: (C, H, W).
        num_classes: K.
        channels: filters of each stage; all but the first halve the image.
        blocks: residual blocks in each stage.
        stem_stride: of the first convolution, in pixels.
        activation: name of the activation.
        dropout: share of units switched off before the classifier.
        """
        super().__init__()
        self.stem = nn.Sequential(
            _convolution(input_shape[0], channels[0], 3, stem_stride),
            nn.BatchNorm2d(channels[0]),
            activation_layer(activation),
        )
        inputs = channels[0]
        layers: list[nn.Module] = []
        for stage, filters in enumerate(channels):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                layers.append(_ResidualBlock(inputs, filters, stride, activation))
                inputs = filters
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = classifier(inputs, (), num_classes, activation, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of float images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.pool(self.blocks(self.stem(images))).flatten(1))
        return logits


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int, activation: str) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(inputs, filters, 3, stride),
            nn.BatchNorm2d(filters),
            activation_layer(activation),
            _convolution(filters, filters, 3, 1),
            nn.BatchNorm2d(filters),
        )
        same = stride == 1 and inputs == filters
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(_convolution(inputs, filters, 1, stride), nn.BatchNorm2d(filters))
        )
        self.activation = activation_layer(activation)

    def forward(self, images: Tensor) -> Tensor:
        activated: Tensor = self.activation(torch.add(self.residual(images), self.shortcut(images)))
        return activated


def _convolution(inputs: int, filters: int, kernel_size: int, stride: int) -> nn.Conv2d:
    """Padded to the same size, without the bias that the batch norm after it would undo."""
    return nn.Conv2d(inputs, filters, kernel_size, stride, kernel_size // 2, bias=False)
