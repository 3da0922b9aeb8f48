"""Timing in turns, and the tables of the benchmarks.

The contestants run one after the other, again and again, so that a minute in which the machine is slow is slow for all.
Every other turn has them in reverse order, so that a machine that gets faster or slower favours nobody.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from tabulate import tabulate

__all__ = ["has_bf16", "machine", "pair", "print_table", "take_turns"]

T = TypeVar("T")


def take_turns(contestants: Mapping[str, Callable[[], T]], repetitions: int, *, warm_up: bool) -> dict[str, list[T]]:
    """Run each contestant ``repetitions`` times, in turns.

    Args:
        contestants: name -> what runs once and returns its result.
        repetitions: results that are kept of each.
        warm_up: run each once before, and throw that result away.

    Returns:
        name -> results, in the order of the turns.
    """
    results: dict[str, list[T]] = {name: [] for name in contestants}
    for turn in range(0 if warm_up else 1, repetitions + 1):
        for name, run in list(contestants.items())[:: 1 if turn % 2 else -1]:
            print(f"turn {turn}/{repetitions}: {name}" if turn else f"warm-up: {name}", file=sys.stderr)
            result = run()
            if turn:
                results[name].append(result)
    return results


def pair(ours: Sequence[float], yardstick: Sequence[float]) -> tuple[float, float, float, str]:
    """Both medians, and of the ratios of the single turns the median and the range."""
    each = [mine / other for mine, other in zip(ours, yardstick, strict=True)]
    medians = statistics.median(ours), statistics.median(yardstick)
    return *medians, statistics.median(each), f"{min(each):.2f} to {max(each):.2f}"


def print_table(title: str, headers: Sequence[str], rows: Sequence[Sequence[object]], formats: Sequence[str]) -> None:
    """Print rows as a Markdown table.

    Args:
        title: one line above it.
        headers: of the columns.
        rows: a value for each column.
        formats: for each column the format of its values, as ``format()`` takes it.
    """
    cells = [[format(value, form) for value, form in zip(row, formats, strict=True)] for row in rows]
    right = ["right" if isinstance(value, float | int) else "left" for value in rows[0]]
    print(f"{title}\n\n{tabulate(cells, headers, 'github', disable_numparse=True, colalign=right)}\n", flush=True)


def machine() -> str:
    """What the numbers depend on: processor, threads and versions."""
    parts = (
        f"{_processor()}, {os.cpu_count()} cores",
        f"{torch.get_num_threads()} thread(s)",
        f"{torch.backends.cpu.get_cpu_capability()}{' with bf16' if has_bf16() else ''}",
        f"torch {torch.__version__}",
        f"Python {platform.python_version()}",
    )
    return ", ".join(parts)


def has_bf16() -> bool:
    """Whether the processor has instructions for bf16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
