"""Work in several processes, with so much of it under way that memory stays bounded."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["cores", "in_processes"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def cores() -> int:
    """How many processors this process may use, by its affinity and the quota of its control group (cgroup v2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no control group, or "max": no quota
        return allowed


def in_processes(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    processes: int,
    initializer: Callable[..., None],
    arguments: tuple[Any, ...],
) -> Iterator[Result]:
    """Results of ``function`` for each task, as they are done.

    A task is taken from ``tasks`` only when a process is about to be free for it. The processes end with this one,
    also when it is killed, and leave Ctrl-C to it.

    Args:
        function: of a module, called in one of the processes.
        tasks: arguments of its calls.
        processes: how many.
        initializer: called once in each process, before its first task.
        arguments: of the initializer.

    Raises:
        BrokenProcessPool: a process ended without a word.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    waiting: set[Future[Result]] = set()
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(initializer, arguments)) as pool:
        try:
            for task in tasks:
                with _without_interrupts():
                    waiting.add(pool.submit(function, task))
                # One more for each process, so that none waits for the next.
                if len(waiting) >= 2 * processes:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            while waiting:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        except BaseException:
            # What they work on may take long, and nobody waits for it any more.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back while a process may be started, which inherits this and so never gets it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(initializer: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    initializer(*arguments)


def _end_with_parent() -> None:
    """Without this, a process whose parent was killed would wait for its next task for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
