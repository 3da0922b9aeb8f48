"""Logits of a whole split."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from imagewright.data.loader import Arrays, ImageBatches, make_loader

__all__ = ["predict"]


@torch.inference_mode()
def predict(network: nn.Module, data: Arrays, batch_size: int) -> tuple[Tensor, Tensor]:
    """Run a network over images on the CPU, in full precision.

    Args:
        network: takes uint8 (B, C, H, W), gives logits (B, K).
        data: images uint8 (N, H, W, C) and labels int64 (N,).
        batch_size: images at once.

    Returns:
        logits float32 (N, K) and labels int64 (N,).
    """
    network.eval()
    pairs = [(network(images), labels) for images, labels in make_loader(ImageBatches([data]), batch_size)]
    return torch.cat([logits for logits, _ in pairs]), torch.cat([labels for _, labels in pairs])
