"""What glibc does with memory that is freed; elsewhere, nothing happens here."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

__all__ = ["keep_memory", "return_memory"]


def keep_memory() -> None:
    """Have it keep what a training step frees, for the next step.

    By default it returns large blocks to the system, and the next step pays for new pages: up to a fifth of the time
    of a small network on a CPU. The two numbers are those of mallopt(3).
    """
    mallopt = _function("mallopt")
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 32 * 1024**2)  # the most that it takes, in bytes
        mallopt(trim_threshold, 1024**3)


def return_memory() -> None:
    """Have it return what is free to the system, by malloc_trim(3): small blocks are kept by default."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None
