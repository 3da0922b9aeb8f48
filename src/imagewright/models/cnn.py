"""A convolutional network with every notion of a first course as one key."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from imagewright.models.layers import activation_layer, classifier
from imagewright.shapes import Padding, cnn_sizes

__all__ = ["CNN"]


class CNN(nn.Module):
    """Blocks of convolution, pooling, batch norm and activation, then a head.

    The pooling stands before batch norm and activation, which then work on a quarter of the pixels. With max pooling
    and an activation that keeps the order of values (all but gelu and silu), a trained network gives the same as in the
    usual order for every positive weight of the batch norm. ``docs/benchmarks.md`` has the gain in speed.
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int],
        num_classes: int,
        *,
        channels: Sequence[int],
        kernel_size: int,
        stride: int,
        padding: Padding,
        pooling: str,
        pool_size: int,
        batch_norm: bool,
        activation: str,
        head: str,
        hidden_units: Sequence[int],
        dropout: float,
    ) -> None:
        """Build the layers.

        Args:
            input_shape: (C, H, W).
            num_classes: K.
            channels: filters of each block's convolution.
            kernel_size: of each convolution, in pixels.
            stride: of each convolution, in pixels.
            padding: pixels at each side, ``"same"`` or ``"valid"``.
            pooling: ``"max"``, ``"average"`` or ``"none"``.
            pool_size: side of a pooling window, in pixels.
            batch_norm: normalize each filter's output over the batch (Ioffe and Szegedy 2015).
            activation: name of the activation.
            head: ``"global_average"`` (Lin et al. 2013) or ``"flatten"``.
            hidden_units: units of each dense layer before the last.
            dropout: share of units switched off before each dense layer (Srivastava et al. 2014).

        Raises:
            ConfigError: a layer is left without a pixel.
        """
        super().__init__()
        sizes = cnn_sizes(input_shape[1:], channels, kernel_size, stride, padding, pooling, pool_size)
        inputs = input_shape[0]
        blocks: list[nn.Module] = []
        for filters in channels:
            layers = _convolution(inputs, filters, kernel_size, stride, padding, bias=not batch_norm)
            if pooling != "none":
                layers.append(nn.MaxPool2d(pool_size) if pooling == "max" else nn.AvgPool2d(pool_size))
            if batch_norm:
                layers.append(nn.BatchNorm2d(filters))
            blocks.append(nn.Sequential(*layers, activation_layer(activation)))
            inputs = filters
        self.blocks = nn.Sequential(*blocks)
        flatten = head == "flatten"
        self.pool = nn.Identity() if flatten else nn.AdaptiveAvgPool2d(1)
        features = inputs * (sizes[-1][0] * sizes[-1][1] if flatten else 1)
        self.classifier = classifier(features, hidden_units, num_classes, activation, dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of float images (B, C, H, W)."""
        logits: Tensor = self.classifier(self.pool(self.blocks(images)).flatten(1))
        return logits


def _convolution(
    inputs: int, filters: int, kernel_size: int, stride: int, padding: Padding, bias: bool
) -> list[nn.Module]:
    if padding == "same" and kernel_size % 2 == 0:
        # Uneven, as torch's own "same" does it, which copies the image with a warning.
        before, after = (kernel_size - 1) // 2, kernel_size // 2
        pad = nn.ZeroPad2d((before, after, before, after))
        return [pad, nn.Conv2d(inputs, filters, kernel_size, stride, bias=bias)]
    # torch takes "same" only with stride 1; with an odd kernel the number below gives ceil(size / stride) for all.
    around = {"same": kernel_size // 2, "valid": 0}.get(str(padding), padding)
    return [nn.Conv2d(inputs, filters, kernel_size, stride, int(around), bias=bias)]
