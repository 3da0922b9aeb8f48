"""How a command ends: errors that the user can mend have one line and the exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import NoReturn

from imagewright.errors import ImagewrightError

__all__ = ["exit_with"]

# 128 + SIGINT, SIGPIPE and SIGTERM, as a shell reports them.
INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143


def exit_with(main: Callable[[], int | None], *, stage: str | None = None) -> NoReturn:
    """Run ``main`` and end the process with its status.

    Args:
        main: returns the status, or None for 0.
        stage: whose time is taken down if all went well.
    """
    try:
        status = main() or 0
        if stage is not None and status == 0:
            from imagewright.stages.times import write_time  # `imagewright --help` is to import next to nothing

            write_time(stage)
        sys.stdout.flush()
        sys.exit(status)
    except ImagewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read what was printed (`| head`) has enough; the interpreter must not try to print the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        # Lightning raises one of its own for SIGTERM, without a status: DVC would take what is there for a result.
        if type(ended) is SystemExit:
            raise
        print("terminated", file=sys.stderr)
        sys.exit(TERMINATED)
