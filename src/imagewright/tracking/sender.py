"""The process beside a run that sends its record to the MLflow store.

    python -m imagewright.tracking.sender <root of the project> <key of the run>

It begins while the run imports and trains, on another core, so that MLflow costs the run next to nothing. It ends when
its standard input does: the run has said all, or its process is gone. Then it prints what became of the record, as
JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

from imagewright.errors import TrackingError
from imagewright.tracking.journal import Journal
from imagewright.tracking.place import tracking_uri, without_password
from imagewright.tracking.process import lives

__all__: list[str] = []

# Seconds between two looks at the record: what is there can be seen live in the UI, at the price of one transaction.
_EVERY = 0.5
# Seconds in which a server must answer while a run goes on; the defaults of MLflow are two minutes and seven tries.
_LIVE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "4",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
# Seconds that a process whose pipe has closed may take to end.
_ENDING = 10.0


def main() -> None:
    root, key = Path(sys.argv[1]), sys.argv[2]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the run, which then says its end.
    for name, value in _LIVE.items():
        os.environ.setdefault(name, value)
    journal = Journal.find(root, key)
    with journal.alone() as alone:
        result = _send(root, journal) if alone else {"reason": "another process sends the same record"}
    print(json.dumps(result))


def _send(root: Path, journal: Journal) -> dict[str, Any]:
    delivery, reason, refused = None, None, False
    over = False
    while True:
        if reason is None:
            try:
                if delivery is None:
                    delivery = _connect(root, journal)
                delivery.send()
            except Exception as error:
                # Whatever stands in the way must not be lost with this process, which nobody looks at.
                refused = isinstance(error, TrackingError)
                reason = str(error).strip() or type(error).__name__
                journal.state = {**journal.state, "reason": reason}
        if over:
            break
        over = _wait()
        if over and not journal.ended:
            _say_the_end(journal)
    done = reason is None and journal.ended
    if done:
        journal.remove()
    return {"run_id": delivery.run_id if delivery else None, "done": done, "reason": reason, "refused": refused}


def _connect(root: Path, journal: Journal) -> Any:
    # MLflow takes a second or two to import.
    from imagewright.tracking.delivery import Delivery, deliver_the_dead
    from imagewright.tracking.store import end_dead_runs, open_store

    try:
        client = open_store(root)
    except TrackingError as error:
        raise ConnectionError(str(error)) from error
    delivery = Delivery(client, root, journal)
    delivery.send()
    deliver_the_dead(client, root, without_password(tracking_uri(root)))
    end_dead_runs(client)
    if any(entry["op"] == "start" for entry, _ in journal.entries()):
        # A training ends with a model. What packs it takes a second to import, best while the network trains.
        importlib.import_module("imagewright.tracking.packing")
    return delivery


def _wait() -> bool:
    """Wait for the next look; whether it is the last."""
    ready, _, _ = select.select([sys.stdin], [], [], _EVERY)
    return bool(ready) and not os.read(sys.stdin.fileno(), 1)


def _say_the_end(journal: Journal) -> None:
    """The run did not: its process has ended without a word, or is about to."""
    until = time.monotonic() + _ENDING
    while lives(journal.owner) and time.monotonic() < until:
        time.sleep(0.1)
    if not journal.ended and not lives(journal.owner):
        from imagewright.tracking.delivery import end_for

        end_for(journal)


if __name__ == "__main__":
    main()
