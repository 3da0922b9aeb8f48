"""Stage compose: ``conf/`` and ``params.yaml`` to the resolved, validated ``config.yaml``."""

from __future__ import annotations

import argparse
from pathlib import Path

from imagewright.config.composition import compose_config
from imagewright.stages.command import exit_with
from imagewright.stages.sections import write_sections


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--conf", type=Path, required=True, help="folder of the groups")
    parser.add_argument("--params", type=Path, required=True, help="file of the choices")
    parser.add_argument("--out", type=Path, required=True, help="file that is written")
    arguments = parser.parse_args()
    write_sections(arguments.out, compose_config(arguments.conf, arguments.params))


if __name__ == "__main__":
    exit_with(main, stage="compose")
