"""Where runs are stored, and whether anybody answers there; without MLflow, which takes a second to import."""

from __future__ import annotations

import os
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from imagewright.home import home

__all__ = ["FOLDER", "answers", "is_server", "tracking_uri", "without_password"]

FOLDER = "mlruns"
_PATIENCE = 4.0  # seconds, for connecting and for the first byte


def tracking_uri(root: Path) -> str:
    """``MLFLOW_TRACKING_URI``, or else the SQLite database of the project at ``root`` (an absolute path)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home(root).resolve() / FOLDER / 'mlflow.db'}"


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def answers(uri: str) -> str | None:
    """None if a server answers at all, else why not; MLflow's own client would try again for minutes without a word."""
    try:
        urllib.request.urlopen(f"{without_password(uri).rstrip('/')}/health", timeout=_PATIENCE).close()
    except urllib.error.HTTPError as error:
        # Refused, but alive; a gateway says by these that nobody is behind it.
        return f"HTTP {error.code}" if error.code in (502, 503, 504) else None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return str(reason).strip() or type(error).__name__
    return None


def without_password(uri: str) -> str:
    place = urllib.parse.urlsplit(uri).netloc
    return uri.replace(place, place.rpartition("@")[2], 1) if "@" in place else uri
