"""Renew requirements.lock: the exact version of everything that the Makefile installs.

    make lock

uv resolves the ranges of pyproject.toml for all supported versions of Python at once and keeps the present pins where
they still fit; delete a line of requirements.lock to move it to its newest version. What CUDA builds of torch need is
left out: torch pins it exactly itself, and a CPU build does not need it.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
CUDA = re.compile(r"^(nvidia-[\w-]+|cuda-[\w-]+|triton)==", re.MULTILINE)


def resolve(out: Path, *options: str) -> None:
    """Write the resolution to ``out``, whose present content is preferred."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--extra", "dev"]
    shape = ["--no-header", "--no-annotate", "--output-file", str(out)]
    subprocess.run([*command, *shape, *options, "pyproject.toml"], cwd=ROOT, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        everything = Path(folder) / "requirements.txt"
        everything.write_text(LOCK.read_text("utf-8"), encoding="utf-8")
        resolve(everything)
        names = sorted(set(CUDA.findall(everything.read_text("utf-8"))))
    resolve(LOCK, *(f"--no-emit-package={name}" for name in names))


if __name__ == "__main__":
    main()
