"""Stage scan: lists the files that the images come from, so that DVC sees when one is added, removed or changed.

It runs each time and costs little: a file whose size and times are those of the last scan is not read again. The list
has digests of the content and no times, so that it is the same on every machine that has the same images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from imagewright.home import home
from imagewright.stages.command import exit_with
from imagewright.stages.project import find_project
from imagewright.stages.sections import read_sections, write_whole
from imagewright.stages.source import open_source, source_path

# path -> (size in bytes, time of the last change of content and of anything in nanoseconds), digest
Known = dict[str, tuple[list[int], str]]

_HEADER = ["path", "bytes", "sha256"]  # DVC warns of an empty file
_BLOCK = 2**20  # bytes
_PORTION = 256  # files that a thread reads at once
# A file that changed so shortly before the scan, in nanoseconds, may change again without another time.
_RECENT = 2 * 10**9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--known", type=Path, required=True, help="file that keeps the digests from scan to scan")
    parser.add_argument("--out", type=Path, required=True, help="list that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config, "data")
    known_path = home(find_project().root) / arguments.known
    known = _read_known(known_path)
    source = open_source(config["data"])
    found = _look_at(sorted(map(os.fspath, source.files())), known)
    if found != known:
        known_path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(known_path, json.dumps(found, separators=(",", ":")))
    # Relative to what data.path names, so that the list does not depend on where that lies.
    base = f"{source_path(config['data'])}/"
    rows = [_HEADER, *([path.removeprefix(base), stamp[0], digest] for path, (stamp, digest) in found.items())]
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(arguments.out, "".join(f"{json.dumps(row)}\n" for row in rows))
    total = sum(stamp[0] for stamp, _ in found.values())
    print(f"scanned {len(found)} files of {total / 2**20:,.1f} MiB")


def _look_at(paths: list[str], known: Known) -> Known:
    """Stamp and digest of each file; only files that are new or changed are read."""
    recent = time.time_ns() - _RECENT
    stamps = {path: _stamp(path, recent) for path in paths}
    fresh = [path for path, stamp in stamps.items() if not stamp[2] or known.get(path, (None,))[0] != stamp]
    digests: dict[str, str] = {}
    portions = [fresh[first : first + _PORTION] for first in range(0, len(fresh), _PORTION)]
    # Reading waits for the disk, and hashing a long file leaves the interpreter to others.
    with ThreadPoolExecutor() as pool, tqdm(total=len(fresh), desc="scan", unit="file", disable=_quiet(fresh)) as bar:
        for portion in pool.map(lambda part: {path: _digest(path) for path in part}, portions):
            digests |= portion
            bar.update(len(portion))
    return {path: (stamp, digests[path] if path in digests else known[path][1]) for path, stamp in stamps.items()}


def _quiet(fresh: list[str]) -> bool | None:
    return True if len(fresh) <= _PORTION else None


def _stamp(path: str, recent: int) -> list[int]:
    try:
        status = Path(path).stat()
    except OSError:
        return [0, 0, 0]
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    # Without the second time, the file is read again.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns if changed < recent else 0]


def _digest(path: str) -> str:
    """SHA-256 of the content, or why it cannot be read."""
    digest = hashlib.sha256()
    try:
        with Path(path).open("rb", buffering=0) as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    except OSError as error:
        return f"not readable: {error.strerror}"
    return digest.hexdigest()


def _read_known(path: Path) -> Known:
    try:
        loaded = json.loads(path.read_text("utf-8"))
        return {name: (stamp, digest) for name, (stamp, digest) in loaded.items()}
    # Missing, cut off by a kill, or of another version: then everything is read.
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


if __name__ == "__main__":
    exit_with(main, stage="scan")
