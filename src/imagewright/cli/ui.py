"""Opens the MLflow UI on this machine."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from imagewright.stages.project import find_project
from imagewright.tracking.place import is_server, tracking_uri
from imagewright.tracking.store import open_store

__all__ = ["run"]


def run(arguments: Sequence[str]) -> None:
    """Replace this process by MLflow's server, which shows the runs until it is interrupted."""
    parser = argparse.ArgumentParser(prog="imagewright ui", description=__doc__)
    parser.add_argument("--port", type=int, default=5000, help="port on the loopback address (default: %(default)s)")
    port = parser.parse_args(arguments).port
    root = find_project().root
    uri = tracking_uri(root)
    if is_server(uri):
        print(f"runs are on the server that MLFLOW_TRACKING_URI names: {uri}")
        return
    open_store(root)
    print(f"MLflow UI: http://127.0.0.1:{port} (Ctrl-C ends it)", flush=True)
    server = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    # One worker answers one person, and starts sooner than the four of the default.
    os.execv(sys.executable, [*server, "--port", str(port), "--workers", "1"])
