"""Learning rate schedules, stepped after each batch. A file of ``conf/scheduler/`` names one."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

__all__ = ["constant", "cosine", "one_cycle"]


def one_cycle(
    optimizer: Optimizer, total_steps: int, *, warmup: float, start_divisor: float, end_divisor: float
) -> LRScheduler:
    """Up to the optimizer's learning rate and down again (Smith and Topin 2017).

    Args:
        optimizer: its learning rate is the peak.
        total_steps: batches in the whole training.
        warmup: share of the steps before the peak.
        start_divisor: the start is the peak divided by this.
        end_divisor: the end is the start divided by this.
    """
    return OneCycleLR(
        optimizer,
        max_lr=optimizer.param_groups[0]["lr"],
        # With fewer steps its two phases would be empty, and it divides by their length.
        total_steps=max(total_steps, math.ceil(2 / min(warmup, 1 - warmup))),
        pct_start=warmup,
        div_factor=start_divisor,
        final_div_factor=end_divisor,
        cycle_momentum=False,  # it would overwrite optimizer.momentum or optimizer.betas
    )


def cosine(optimizer: Optimizer, total_steps: int, *, warmup: float, end_share: float) -> LRScheduler:
    """Half a cosine down from the optimizer's learning rate (Loshchilov and Hutter 2016).

    Args:
        optimizer: its learning rate is the peak.
        total_steps: batches in the whole training.
        warmup: share of the steps with a linear rise from 0.
        end_share: the end, as a share of the peak.
    """
    rising = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        done = (step - rising) / max(1, total_steps - rising)
        return end_share + (1 - end_share) * (1 + math.cos(math.pi * min(done, 1.0))) / 2

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """The optimizer's learning rate, throughout."""
    return LambdaLR(optimizer, lambda step: 1.0)
