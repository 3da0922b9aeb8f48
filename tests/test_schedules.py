"""Learning rates, compared with the formulas of the papers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from imagewright.training.schedules import constant, cosine, one_cycle

PEAK = 0.2
Schedule = Callable[..., LRScheduler]


def rates(schedule: Schedule, total_steps: int, **keys: float) -> list[float]:
    """The learning rate of each step, as a training would use it."""
    optimizer = sgd()
    scheduler = schedule(optimizer, total_steps, **keys)
    used = []
    for _ in range(total_steps):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return used


def sgd(**keys: Any) -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK, **keys)


@pytest.mark.parametrize("total_steps", [1, 2, 50])
def test_constant_keeps_the_learning_rate(total_steps: int) -> None:
    assert rates(constant, total_steps) == [PEAK] * total_steps


@pytest.mark.parametrize("end_share", [0.0, 0.1])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("total_steps", [10, 97])
def test_cosine_rises_linearly_and_falls_by_half_a_cosine(total_steps: int, warmup: float, end_share: float) -> None:
    rising = round(warmup * total_steps)
    falling = total_steps - rising
    expected = [PEAK * (step + 1) / rising for step in range(rising)] + [
        PEAK * (end_share + (1 - end_share) * math.cos(math.pi / 2 * step / falling) ** 2) for step in range(falling)
    ]
    assert rates(cosine, total_steps, warmup=warmup, end_share=end_share) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("end_share", [0.0, 0.25])
def test_cosine_ends_at_its_share_of_the_peak_and_stays_there(end_share: float) -> None:
    optimizer = sgd()
    scheduler = cosine(optimizer, 20, warmup=0.2, end_share=end_share)
    for _ in range(20):
        optimizer.step()
        scheduler.step()
    for _ in range(5):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(end_share * PEAK, abs=1e-15)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(("start_divisor", "end_divisor"), [(25, 10000), (10, 1), (1, 100)])
@pytest.mark.parametrize(("total_steps", "warmup"), [(100, 0.3), (50, 0.1), (20, 0.8)])
def test_one_cycle_starts_peaks_and_ends_where_it_should(
    total_steps: int, warmup: float, start_divisor: float, end_divisor: float
) -> None:
    used = rates(one_cycle, total_steps, warmup=warmup, start_divisor=start_divisor, end_divisor=end_divisor)
    start, end = PEAK / start_divisor, PEAK / start_divisor / end_divisor
    peak = round(warmup * total_steps) - 1  # the last step of the rise
    last = total_steps - 1

    def along(low: float, high: float, share: float) -> float:
        return high + (low - high) * math.cos(math.pi / 2 * share) ** 2

    assert used[0] == pytest.approx(start, rel=1e-9)
    assert used[peak] == pytest.approx(PEAK, rel=1e-9)
    assert used[last] == pytest.approx(end, rel=1e-9)
    expected = [along(start, PEAK, step / peak) for step in range(peak)] + [
        along(PEAK, end, (step - peak) / (last - peak)) for step in range(peak, total_steps)
    ]
    assert used == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("warmup", [0.01, 0.3, 0.5, 0.99])
@pytest.mark.parametrize("total_steps", [1, 2, 3, 4])
def test_one_cycle_survives_a_training_of_a_few_steps(total_steps: int, warmup: float) -> None:
    used = rates(one_cycle, total_steps, warmup=warmup, start_divisor=25, end_divisor=100)
    assert used[0] == pytest.approx(PEAK / 25)
    assert all(0 < rate <= PEAK * (1 + 1e-9) for rate in used)


@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("total_steps", [1, 2])
def test_cosine_survives_a_training_of_a_few_steps(total_steps: int, warmup: float) -> None:
    used = rates(cosine, total_steps, warmup=warmup, end_share=0.0)
    assert all(0 < rate <= PEAK for rate in used)


@pytest.mark.parametrize(
    ("schedule", "keys"),
    [
        (constant, {}),
        (cosine, {"warmup": 0.3, "end_share": 0.0}),
        (one_cycle, {"warmup": 0.3, "start_divisor": 25, "end_divisor": 100}),
    ],
)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_a_schedule_changes_the_learning_rate_and_no_other_key_of_the_optimizer(
    schedule: Schedule, keys: dict[str, float], kind: str
) -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1))]
    optimizer: Optimizer = (
        SGD(parameters, lr=PEAK, momentum=0.6, weight_decay=0.01)
        if kind == "sgd"
        else AdamW(parameters, lr=PEAK, betas=(0.8, 0.99), weight_decay=0.01)
    )
    configured = ("momentum", "betas", "weight_decay", "nesterov")
    before = {name: value for name, value in optimizer.param_groups[0].items() if name in configured}
    scheduler = schedule(optimizer, 10, **keys)
    for _ in range(10):
        assert {name: optimizer.param_groups[0][name] for name in before} == before
        optimizer.step()
        scheduler.step()


def test_one_cycle_drives_an_optimizer_without_momentum() -> None:
    optimizer = torch.optim.Adagrad([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    one_cycle(optimizer, 10, warmup=0.3, start_divisor=25, end_divisor=100)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(PEAK / 25)
