"""What happens inside a network: its first kernels, its feature maps, and where it looks.

A network is as it was afterwards: in its mode, without gradients and hooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["FeatureMaps", "feature_maps", "first_kernels", "grad_cam"]

Floats = npt.NDArray[np.float32]

_TIMES = "\N{MULTIPLICATION SIGN}"
# Pixels of a side from which on a map says where, if the image has four times as many. Of earlier, finer maps, the mean
# of the gradient says little, and often no place is left that speaks for the class.
_ENOUGH = 4


class FeatureMaps(NamedTuple):
    """What a step of a network made of an image.

    Attributes:
        name: of the step, such as "block 1: convolution 3×3".
        shape: (channels, h, w).
        maps: float32, of that shape.
    """

    name: str
    shape: tuple[int, int, int]
    maps: Floats


def first_kernels(network: nn.Module, input_shape: Sequence[int]) -> Floats | None:
    """Weights of the first convolution, (filters, h, w, C), or of a first dense layer, (units, H, W, C).

    Args:
        network: takes images, (B, C, H, W).
        input_shape: (C, H, W).

    Returns:
        the weights; None if the first of these layers does not see the pixels.
    """
    layer = next((layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)), None)
    if layer is None:
        return None
    weight = layer.weight.detach().float().cpu()
    if isinstance(layer, nn.Linear):
        if layer.in_features != math.prod(input_shape):
            return None
        weight = weight.view(-1, *input_shape)
    kernels: Floats = weight.permute(0, 2, 3, 1).numpy().copy()
    return kernels


def feature_maps(network: nn.Module, image: Tensor) -> list[FeatureMaps]:
    """The outputs of each convolution and pooling, and of the activation at the end of each block.

    Args:
        network: takes images, uint8 (B, C, H, W).
        image: uint8 (1, C, H, W).

    Returns:
        one for each step, in the order of the network; none for one without maps.
    """
    found: list[tuple[str, bool, FeatureMaps]] = []
    normalized = False

    def keep(path: str, layer: nn.Module, output: Tensor) -> None:
        nonlocal normalized
        words = _words(layer)
        if isinstance(layer, nn.BatchNorm2d):
            normalized = True
        elif words:
            # It has no maps of its own, but without it the step from pooling to activation could not be understood.
            words = f"batch norm, {words}" if normalized and _is_activation(layer) else words
            normalized = False
        if output.ndim != 4 or not words:
            return
        block, place = _place(path)
        # An activation is not the end of its block if another step of it follows.
        if found and found[-1][:2] == (block, True):
            del found[-1]
        maps = output[0].float().cpu().numpy().copy()
        name = f"{place}: {words}" if place else words
        found.append((block, _is_activation(layer), FeatureMaps(name, maps.shape, maps)))

    with _at_rest(network), torch.no_grad(), _watched(network, keep):
        network(image)
    return [maps for _, _, maps in found]


def grad_cam(network: nn.Module, images: Tensor, targets: Tensor) -> Floats | None:
    """Where an image speaks for a class (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391).

    The maps are the last ones after an activation and before the classifier that are fine enough to say where: 4 pixels
    a side, or a quarter of the side of a small image. Where no place is left by the mean of the gradient, as it often
    happens on maps of a few pixels, each place is weighted by its own gradient (HiResCAM, Draelos and Carin 2020,
    https://arxiv.org/abs/2011.08891).

    Args:
        network: takes images, uint8 (B, C, H, W), gives logits (B, K).
        images: uint8 (B, C, H, W).
        targets: int64 (B,), the classes.

    Returns:
        float32 (B, H, W), 1 where an image speaks most for its class, all 0 where no place does; None for a network
        without maps.
    """
    with _at_rest(network), torch.inference_mode(False), torch.enable_grad():
        # Tensors that were made in inference mode have no part in gradients.
        images, targets = images.clone(), targets.clone()
        layer = _last_maps(network, images[:1])
        if layer is None:
            return None
        maps: list[Tensor] = []

        def cut(_layer: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            # The gradient is asked for from here on. What follows gets a copy, which it may change in place.
            maps.append(output.detach().requires_grad_())
            return maps[-1].clone()

        with layer.register_forward_hook(cut):
            logits = network(images)
        (gradients,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), maps[-1])
    values = maps[-1].detach()
    heat = (gradients.mean((2, 3), keepdim=True) * values).sum(1, keepdim=True).relu()
    # Of small maps, the mean of the gradient often leaves no place; the gradient of each place still tells.
    empty = heat.amax((1, 2, 3), keepdim=True) == 0
    heat = torch.where(empty, (gradients * values).sum(1, keepdim=True).relu(), heat)
    heat = nn.functional.interpolate(heat, images.shape[2:], mode="bilinear")[:, 0].float()
    heat /= heat.amax((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    scaled: Floats = heat.cpu().numpy()
    return scaled


@torch.no_grad()
def _last_maps(network: nn.Module, image: Tensor) -> nn.Module | None:
    """The layer whose output is the best for Grad-CAM."""
    seen: list[tuple[int, bool, nn.Module]] = []
    enough = max(2, min(_ENOUGH, min(image.shape[2:]) // 4))

    def keep(_path: str, layer: nn.Module, output: Tensor) -> None:
        if output.ndim == 4 and (seen or isinstance(layer, nn.Conv2d)):
            seen.append((min(enough, *output.shape[2:]), _is_activation(layer), layer))

    with _watched(network, keep):
        network(image)
    # Of equal ones, max takes the first.
    return max(reversed(seen), key=lambda found: found[:2])[2] if seen else None


@contextmanager
def _at_rest(network: nn.Module) -> Iterator[None]:
    """In evaluation; afterwards each layer is in the mode that it was in."""
    modes = {layer: layer.training for layer in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes.items():
            layer.training = training


@contextmanager
def _watched(network: nn.Module, keep: Callable[[str, nn.Module, Tensor], None]) -> Iterator[None]:
    """Calls ``keep`` with path, layer and output of each layer that runs and has no layers in it."""
    with ExitStack() as stack:
        for path, layer in network.named_modules():
            if not any(layer.children()):
                stack.enter_context(layer.register_forward_hook(_hook(path, keep)))
        yield


def _hook(path: str, keep: Callable[[str, nn.Module, Tensor], None]) -> Callable[[nn.Module, object, Tensor], None]:
    def hook(layer: nn.Module, _inputs: object, output: Tensor) -> None:
        keep(path, layer, output)

    return hook


def _place(path: str) -> tuple[str, str]:
    """A block, and where in it: "1.blocks.0.shortcut.0" is in "block 1", there "block 1, shortcut"."""
    parts = path.split(".")[:-1]
    while parts and parts[0].isdigit():
        del parts[0]
    if not parts:
        return "", ""
    block = parts[0].removesuffix("s")
    if len(parts) > 1 and parts[1].isdigit():
        block += f" {int(parts[1]) + 1}"
    return block, ", ".join([block, *(part for part in parts[1:] if not part.isdigit())])


def _words(layer: nn.Module) -> str:
    """What a layer does, if it is a step that is shown."""
    match layer:
        case nn.Conv2d():
            stride = "" if max(layer.stride) == 1 else f", stride {layer.stride[0]}"
            return f"convolution {_sides(layer.kernel_size)}{stride}"
        case nn.MaxPool2d():
            return f"max pooling {_sides(layer.kernel_size)}"
        case nn.AvgPool2d():
            return f"average pooling {_sides(layer.kernel_size)}"
        case nn.AdaptiveAvgPool2d():
            return "global average pooling" if layer.output_size in (1, (1, 1)) else "adaptive average pooling"
    return f"activation {type(layer).__name__}" if _is_activation(layer) else ""


def _is_activation(layer: nn.Module) -> bool:
    return type(layer).__module__ == nn.ReLU.__module__


def _sides(size: int | tuple[int, ...]) -> str:
    height, width = (size, size) if isinstance(size, int) else size
    return f"{height}{_TIMES}{width}"
