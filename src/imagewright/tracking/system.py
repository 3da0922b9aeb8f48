"""Processor, memory, disk and network of the machine while a run goes on, under the names that MLflow's UI knows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

import psutil

__all__ = ["SystemMetrics"]

_MEGABYTE = 1e6  # as MLflow counts


class SystemMetrics:
    """Measures in a thread of its own until it is stopped; a measurement takes about a millisecond.

    The names are those of mlflow.system_metrics, which would import MLflow into the training:
    https://mlflow.org/docs/latest/ml/tracking/system-metrics/
    """

    def __init__(self, log: Callable[[Mapping[str, float], int], None], every: float) -> None:
        """Begin.

        Args:
            log: called with the metrics and the number of the measurement, from 0.
            every: seconds between two measurements.
        """
        self._log = log
        self._every = every
        self._stopped = threading.Event()
        self._network = psutil.net_io_counters()
        psutil.cpu_percent()  # The first call has nothing to compare with.
        self._thread = threading.Thread(target=self._measure, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End with a last measurement."""
        self._stopped.set()
        self._thread.join()

    def _measure(self) -> None:
        step = 0
        over = False
        while not over:
            over = self._stopped.wait(self._every)
            self._log({f"system/{name}": value for name, value in self._values().items()}, step)
            step += 1

    def _values(self) -> dict[str, float]:
        memory, disk, network = psutil.virtual_memory(), psutil.disk_usage("."), psutil.net_io_counters()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / _MEGABYTE,
            "disk_available_megabytes": disk.free / _MEGABYTE,
        }
        if network and self._network:  # None in a container without a network
            values["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / _MEGABYTE
            values["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / _MEGABYTE
        return {**values, **_gpus()}


def _gpus() -> dict[str, float]:
    """Memory of the GPUs that torch uses; empty without."""
    # Another thread may be just importing it.
    cuda: Any = getattr(sys.modules.get("torch"), "cuda", None)
    if not hasattr(cuda, "mem_get_info") or not cuda.is_initialized():
        return {}
    values = {}
    for number in range(cuda.device_count()):
        free, total = cuda.mem_get_info(number)
        values[f"gpu_{number}_memory_usage_megabytes"] = (total - free) / _MEGABYTE
        values[f"gpu_{number}_memory_usage_percentage"] = 100 * (total - free) / total
    return values
