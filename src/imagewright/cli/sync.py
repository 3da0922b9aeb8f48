"""Sends to MLflow what could not be sent before."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from imagewright.errors import TrackingError
from imagewright.stages.project import find_project
from imagewright.tracking.journal import Journal, journals
from imagewright.tracking.place import tracking_uri, without_password
from imagewright.tracking.process import is_here, lives

__all__ = ["run"]


def run(arguments: Sequence[str]) -> int:
    """Send the records of runs that a server did not take, each of them once.

    Returns:
        exit status: 1 if some still wait.
    """
    parser = argparse.ArgumentParser(prog="imagewright sync", description=__doc__)
    parser.add_argument(
        "--here", action="store_true", help="send also those that were meant for another store than the present one"
    )
    parser.add_argument("--discard", metavar="KEY", help="delete the record of this run instead of sending it")
    given = parser.parse_args(arguments)
    root = find_project().root
    waiting = journals(root)
    if given.discard:
        return _discard(waiting, given.discard)
    if not waiting:
        print("nothing waits to be sent")
        return 0
    from imagewright.tracking.delivery import Delivery, UnreachableError, end_for
    from imagewright.tracking.store import open_store

    # There is time now, and a slow server is better than none.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    client = open_store(root)
    here = without_password(tracking_uri(root))
    left = 0
    for journal in waiting:
        reason = _obstacle(journal, here, given.here)
        if reason is None:
            with journal.alone() as alone:
                try:
                    if not alone:
                        reason = "another process is sending it"
                    else:
                        if not journal.ended:
                            end_for(journal)
                        delivery = Delivery(client, root, journal)
                        delivery.send()
                        print(f"sent {_name(journal)} as run {delivery.run_id}")
                        journal.remove()
                except (TrackingError, UnreachableError) as error:
                    reason = str(error)
        if reason is not None:
            left += 1
            print(f"waits {journal.key}: {reason}")
    return 1 if left else 0


def _obstacle(journal: Journal, here: str, anywhere: bool) -> str | None:
    owner = journal.owner
    if not journal.ended and (not is_here(owner) or lives(owner)):
        return f"its run goes on, or may do so, on {owner.get('imagewright.host', 'another machine')}"
    if owner.get("uri") != here and not anywhere:
        return f"is meant for {owner.get('uri')}, not for {here}; set MLFLOW_TRACKING_URI to it, or give --here"
    return None


def _name(journal: Journal) -> str:
    return next((repr(entry["name"]) for entry, _ in journal.entries() if "name" in entry), journal.key)


def _discard(waiting: Sequence[Journal], key: str) -> int:
    chosen = [journal for journal in waiting if journal.key.startswith(key)]
    if len(chosen) != 1:
        known = ", ".join(journal.key for journal in waiting) or "none"
        raise TrackingError(f"--discard: must be the key of one run that waits, got {key!r}; waiting: {known}")
    chosen[0].remove()
    print(f"deleted the record of {chosen[0].key}")
    return 0
