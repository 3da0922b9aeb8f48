"""What training runs on: device, precision and memory order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from imagewright.errors import ConfigError

__all__ = ["Runtime", "choose_runtime"]

# Below this many pixels an image, a CPU gains nothing by bf16, nor by a second thread: threads that wait for each other
# keep their cores busy, and where something else wants these, a training takes several times as long. See
# docs/benchmarks.md.
_SMALL_PIXELS = 16 * 16


@dataclass(frozen=True)
class Runtime:
    """Resolved choices of the section ``trainer``."""

    accelerator: str
    precision: str
    channels_last: bool
    threads: int

    @property
    def lightning_precision(self) -> str:
        return "bf16-mixed" if self.precision == "bf16" else "32-true"


def choose_runtime(
    accelerator: str,
    precision: str,
    channels_last: str,
    network: nn.Module,
    pixels: int,
    threads: int | None = None,
) -> Runtime:
    """Settle what ``auto`` means on this machine for this network.

    Args:
        accelerator: auto, cpu or gpu.
        precision: auto, fp32 or bf16.
        channels_last: auto, always or never.
        network: what will be trained.
        pixels: H * W of an image.
        threads: of the CPU, or None.

    Raises:
        ConfigError: a GPU is asked for and there is none.
    """
    gpu = torch.cuda.is_available()
    if accelerator == "gpu" and not gpu:
        raise ConfigError("trainer.accelerator: gpu needs a GPU that torch can use, got none; choose auto or cpu")
    if accelerator == "auto":
        accelerator = "gpu" if gpu else "cpu"
    convolves = any(isinstance(layer, nn.Conv2d) for layer in network.modules())
    if precision == "auto":
        precision = "bf16" if convolves and _bf16_is_fast(accelerator, pixels) else "fp32"
    if threads is None:
        threads = 1 if accelerator == "cpu" and pixels < _SMALL_PIXELS else torch.get_num_threads()
    always = channels_last == "always" or (channels_last == "auto" and convolves)
    return Runtime(accelerator, precision, always, threads)


def _bf16_is_fast(accelerator: str, pixels: int) -> bool:
    if accelerator == "gpu":
        return torch.cuda.get_device_capability()[0] >= 8  # Ampere and later have tensor cores for it
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return native and pixels >= _SMALL_PIXELS
