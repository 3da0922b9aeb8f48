"""Training: imagewright under Lightning against a hand-written PyTorch loop, and what the defaults bring.

    python benchmarks/training_step.py
    python benchmarks/training_step.py --layers --precision

**Loop.** Our ``fit``, as the stage train calls it (History logger, metrics, progress, early stopping, two checkpoints),
against the loop below, written by hand. Both have the same network, loader, fused AdamW, one-cycle schedule, loss,
precision and memory order, for ``cnn`` and ``mlp`` of ``conf/model/`` on grey 28x28 images in batches of 128, on the
CPU. A run has several epochs; the first of them and everything before it (imports, building) do not count. Two parts
are measured, from stamps that Lightning's hooks set in ours and that stand at the same places of the loop:

- steps: the training batches alone, from the start of an epoch until its validation begins.
- epoch: the whole of it. Both sides also validate and write their best and their last state. Ours besides makes sure
  that these are on the disk, and keeps the history.

The loop adds loss and hits to tensors. It runs in the same process, with the same threads, but without the
deterministic algorithms that ``trainer.deterministic`` switches on in ours. That both train the same is checked by
their losses. The images are random: speed does not depend on what they show.

**Layers** (``--layers``). One training step of the cnn at 28x28, first as it is usually written (convolution, batch
norm, ReLU, pooling; fp32; channels first), then with each of our defaults added to those before.

**Precision** (``--precision``). One training step of the default cnn in fp32 and in bf16, by the size of the images:
it settles from which size on ``trainer.precision: auto`` takes bf16 (``_SMALL_PIXELS`` in ``training/runtime.py``).
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from imagewright.config.composition import compose_config
from imagewright.data.loader import Arrays, ImageBatches, make_loader
from imagewright.models.layers import InputNormalization
from imagewright.models.saved import build_network
from imagewright.training.fitting import TrainingData, fit
from imagewright.training.runtime import choose_runtime
from turns import has_bf16, machine, pair, print_table, take_turns

PROJECT = Path(__file__).resolve().parent.parent
CLASSES = 10
BATCH_SIZE = 128
SIDE = 28  # pixels
SHIFT, SCALE = [127.5], [73.9]  # of evenly spread pixel values
STEP_SECONDS = 1.0  # least time of a measurement of single steps


@dataclass(frozen=True)
class Case:
    """A network and how many images it trains on; a quarter as many are for validation."""

    model: str
    images: int
    epochs: int


# A run takes a second or a few, so that many turns are taken.
CASES = (Case("cnn", 2_560, 4), Case("mlp", 32_000, 3))


@dataclass(frozen=True)
class Outcome:
    """Of one run.

    Attributes:
        steps: training images a second, of the training batches alone.
        epoch: training images a second, of whole epochs.
        losses: training loss of each epoch.
    """

    steps: float
    epoch: float
    losses: list[float]


class Stamps:
    """Points of time by their name."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = defaultdict(list)

    def add(self, name: str, *_: object) -> None:
        self.times[name].append(time.perf_counter())

    def outcome(self, images: int, losses: list[float]) -> Outcome:
        """Speeds without the first epoch."""
        starts = [*self.times["on_train_epoch_start"], *self.times["on_train_end"]]
        steps = [end - start for start, end in zip(starts, self.times["on_validation_start"], strict=False)]
        epochs = [end - start for start, end in itertools.pairwise(starts)]
        return Outcome(images / statistics.mean(steps[1:]), images / statistics.mean(epochs[1:]), losses)


def compose(case: Case) -> dict[str, Any]:
    """The defaults of ``conf/`` for this network."""
    given = [f"model={case.model}", "optimizer=adamw", "scheduler=one_cycle", "trainer=auto", "callbacks=standard"]
    values = {"accelerator": "cpu", "batch_size": BATCH_SIZE, "max_epochs": case.epochs}
    given += [f"trainer.{name}={value}" for name, value in values.items()]
    return compose_config(PROJECT / "conf", PROJECT / "params.yaml", given)


def random_arrays(size: int, seed: int) -> Arrays:
    """Images uint8 (N, H, W, 1) and labels int64 (N,)."""
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (size, SIDE, SIDE, 1), dtype=np.uint8), random.integers(0, CLASSES, size)


def train_ours(case: Case, config: Mapping[str, Any], train: Arrays, validation: Arrays) -> Outcome:
    stamps = Stamps()
    hooks = ("on_train_epoch_start", "on_validation_start", "on_train_end")
    clock = {
        "_target_": "pytorch_lightning.callbacks.LambdaCallback",
        **{hook: functools.partial(stamps.add, hook) for hook in hooks},
    }
    names = [str(label) for label in range(CLASSES)]
    data = TrainingData([train], validation, names, SHIFT, SCALE)
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(Path(folder), data, {**config, "callbacks": {**config["callbacks"], "clock": clock}})
    # It holds for the whole process, and the loop shall run with PyTorch's defaults.
    torch.use_deterministic_algorithms(False)
    return stamps.outcome(case.images, [row["train/loss"] for row in fitted.history.values()])


def train_by_hand(case: Case, config: Mapping[str, Any], train: Arrays, validation: Arrays) -> Outcome:
    torch.manual_seed(config["seed"])
    network = build_network(config["model"], (1, SIDE, SIDE), CLASSES, SHIFT, SCALE)
    runtime = choose_runtime("cpu", "auto", "auto", network, SIDE * SIDE)
    if runtime.channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loss_function = nn.CrossEntropyLoss(label_smoothing=config["trainer"]["label_smoothing"])
    train_loader = make_loader(ImageBatches([train]), BATCH_SIZE, shuffle=True, seed=config["seed"])
    validation_loader = make_loader(ImageBatches([validation]), BATCH_SIZE)
    optimizer, scheduler = make_optimizer(network, config, case.epochs * len(train_loader))
    stamps, losses, best = Stamps(), [], float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(case.epochs):
            stamps.add("on_train_epoch_start")
            network.train()
            train_loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            loss_sum, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
            for images, labels in train_loader:
                optimizer.zero_grad()
                with arithmetic(runtime.precision):
                    logits = network(images)
                    loss = loss_function(logits, labels)
                loss.backward()
                optimizer.step()
                scheduler.step()
                loss_sum += loss.detach() * len(labels)
                hits += (logits.detach().argmax(1) == labels).sum()
            stamps.add("on_validation_start")
            losses.append(loss_sum.item() / case.images)
            scores = {"accuracy": hits.item() / case.images}
            scores |= validate(network, validation_loader, loss_function, runtime.precision)
            if scores["validation/loss"] < best:
                best = scores["validation/loss"]
                torch.save(network.state_dict(), Path(folder) / "best.pt")
            states = network.state_dict(), optimizer.state_dict(), scheduler.state_dict()
            torch.save((*states, scores), Path(folder) / "last.pt")
        stamps.add("on_train_end")
    return stamps.outcome(case.images, losses)


def make_optimizer(
    network: nn.Module, config: Mapping[str, Any], total_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    keys, cycle = config["optimizer"], config["scheduler"]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=keys["lr"], betas=keys["betas"], weight_decay=keys["weight_decay"], fused=True
    )
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=keys["lr"],
        total_steps=total_steps,
        pct_start=cycle["warmup"],
        div_factor=cycle["start_divisor"],
        final_div_factor=cycle["end_divisor"],
        cycle_momentum=False,
    )
    return optimizer, scheduler


@torch.inference_mode()
def validate(
    network: nn.Module, loader: DataLoader[tuple[Tensor, Tensor]], loss_function: nn.Module, precision: str
) -> dict[str, float]:
    network.eval()
    size, loss_sum, hits = 0, torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for images, labels in loader:
        with arithmetic(precision):
            logits = network(images)
            loss_sum += loss_function(logits, labels) * len(labels)
        hits += (logits.argmax(1) == labels).sum()
        size += len(labels)
    return {"validation/loss": loss_sum.item() / size, "validation/accuracy": hits.item() / size}


def arithmetic(precision: str) -> AbstractContextManager[None]:
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")


def compare_loops(repetitions: int) -> None:
    rows = []
    for case in CASES:
        config = compose(case)
        work = case, config, random_arrays(case.images, 1), random_arrays(case.images // 4, 2)
        ours, by_hand = take_turns(
            {
                f"{case.model}, ours": functools.partial(train_ours, *work),
                f"{case.model}, by hand": functools.partial(train_by_hand, *work),
            },
            repetitions,
            warm_up=False,
        ).values()
        check_equal(ours[0], by_hand[0])
        for part in ("steps", "epoch"):
            speeds = [[getattr(outcome, part) for outcome in outcomes] for outcomes in (ours, by_hand)]
            rows.append((case.model, part, *pair(*speeds)))
    print_table(
        f"Training at {SIDE}x{SIDE}x1 in batches of {BATCH_SIZE}, median of {repetitions}. {machine()}",
        ("network", "measured", "ours, images/s", "by hand, images/s", "ours / by hand", "by turn"),
        rows,
        ("", "", ",.0f", ",.0f", ".2f", ""),
    )


def check_equal(ours: Outcome, by_hand: Outcome) -> None:
    """Refuse to compare two trainings that differ.

    Their random numbers are the same. In the first epoch their losses are so too; later, differences of rounding grow.
    """
    torch.testing.assert_close(ours.losses[0], by_hand.losses[0], rtol=1e-3, atol=0)


def seconds_per_step(network: nn.Module, side: int, *, channels_last: bool, precision: str) -> float:
    """Time of forward, backward and optimizer, after two steps to warm up."""
    if channels_last:
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH_SIZE, 1, side, side), dtype=torch.uint8, generator=random)
    labels = torch.randint(0, CLASSES, (BATCH_SIZE,), generator=random)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network.train()

    def step() -> None:
        optimizer.zero_grad()
        with arithmetic(precision):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step()
    step()
    start = time.perf_counter()
    steps = 0
    while time.perf_counter() - start < STEP_SECONDS:
        step()
        steps += 1
    return (time.perf_counter() - start) / steps


def plain_cnn(section: Mapping[str, Any], *, pool_first: bool) -> nn.Module:
    """The default cnn, layer by layer, with its pooling before or after batch norm and ReLU."""
    layers: list[nn.Module] = [InputNormalization(SHIFT, SCALE)]
    for inputs, filters in itertools.pairwise((1, *section["channels"])):
        convolution = nn.Conv2d(inputs, filters, section["kernel_size"], padding="same", bias=False)
        pooling, norm = nn.MaxPool2d(section["pool_size"]), [nn.BatchNorm2d(filters), nn.ReLU()]
        layers += [convolution, *((pooling, *norm) if pool_first else (*norm, pooling))]
    head = [nn.Dropout(section["dropout"]), nn.Linear(section["channels"][-1], CLASSES)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)


def compare_layers(repetitions: int) -> None:
    section = compose(CASES[0])["model"]
    variants = [
        ("conv, batch norm, ReLU, pool; fp32", False, False, "fp32"),
        ("+ channels last", False, True, "fp32"),
        ("+ pool before batch norm", True, True, "fp32"),
    ]
    if has_bf16():
        variants.append(("+ bf16", True, True, "bf16"))
    runs: dict[str, Callable[[], float]] = {}
    for name, pool_first, channels_last, precision in variants:
        network = plain_cnn(section, pool_first=pool_first)
        runs[name] = functools.partial(
            seconds_per_step, network, SIDE, channels_last=channels_last, precision=precision
        )
    times = take_turns(runs, repetitions, warm_up=False)
    usual = times[variants[0][0]]
    rows = []
    for name, seconds in times.items():
        _, mine, ratio, spread = pair(usual, seconds)
        rows.append((name, mine * 1000, BATCH_SIZE / mine, ratio, spread))
    print_table(
        f"A training step of the cnn at {SIDE}x{SIDE}x1, batch {BATCH_SIZE}, median of {repetitions}. {machine()}",
        ("layers", "ms a step", "images/s", "times as fast", "by turn"),
        rows,
        ("", ".1f", ",.0f", ".2f", ""),
    )


def compare_precisions(repetitions: int, sides: list[int]) -> None:
    if not has_bf16():
        print(f"Precision: left out, this processor has no instructions for bf16. {machine()}\n")
        return
    section = compose(CASES[0])["model"]
    rows = []
    for side in sides:
        network = build_network(section, (1, side, side), CLASSES, SHIFT, SCALE)
        times = take_turns(
            {
                f"{side}x{side}, {precision}": functools.partial(
                    seconds_per_step, network, side, channels_last=True, precision=precision
                )
                for precision in ("fp32", "bf16")
            },
            repetitions,
            warm_up=False,
        )
        fp32, bf16, ratio, spread = pair(*times.values())
        rows.append((f"{side}x{side}", fp32 * 1000, bf16 * 1000, ratio, spread))
    print_table(
        f"A training step of the default cnn, batch {BATCH_SIZE}, median of {repetitions}. {machine()}",
        ("image", "fp32, ms", "bf16, ms", "bf16 is times as fast", "by turn"),
        rows,
        ("", ".1f", ".1f", ".2f", ""),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=15, help="runs of each contestant (default: 15)")
    parser.add_argument("--layers", action="store_true", help="also compare the order of layers and memory")
    parser.add_argument("--precision", action="store_true", help="also compare fp32 with bf16")
    parser.add_argument(
        "--sides", type=int, nargs="+", default=[8, 16, 28, 32, 64], help="of the images for --precision, in pixels"
    )
    parser.add_argument("--skip-loop", action="store_true", help="leave the first table out")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own choice)")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if not arguments.skip_loop:
        compare_loops(arguments.repetitions)
    if arguments.layers:
        compare_layers(arguments.repetitions)
    if arguments.precision:
        compare_precisions(arguments.repetitions, arguments.sides)


if __name__ == "__main__":
    main()
