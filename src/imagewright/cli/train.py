"""``imagewright train``: a Hydra app on the same ``conf/`` and ``params.yaml`` as ``dvc repro``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import hydra

from imagewright.cli import sweep
from imagewright.cli.job import run_job
from imagewright.config.composition import PRIMARY, compose_config, hydra_errors, register_primary
from imagewright.config.hydra_node import check_hydra_files
from imagewright.stages.project import find_project

__all__ = ["run"]

# Flags of Hydra that show something and train nothing.
_SHOW = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion")


def run(arguments: Sequence[str]) -> int:
    """Train once, or sweep with ``-m``; the model and its record go to a new folder in ``runs/``.

    Args:
        arguments: Hydra's flags and overrides, in any order.

    Returns:
        exit status: 1 if a job of a sweep failed.
    """
    project = find_project()
    os.chdir(project.root)
    conf, params = project.paths["conf"], project.paths["params"]
    given = [part for part in arguments if _is_override(part)]
    flags = [part for part in arguments if not _is_override(part)]
    check_hydra_files(conf)
    for sentence in register_primary(conf, params, given):
        print(f"note: {sentence}", file=sys.stderr)
    app = hydra.main(version_base="1.3", config_path=str(conf), config_name=PRIMARY)(run_job)
    # Without it, Hydra prints an error itself and ends the process.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    # Hydra reads its flags only in front of the overrides.
    sys.argv = ["imagewright train", *flags, *given]
    with hydra_errors(conf):
        if any(flag.split("=")[0] in _SHOW for flag in flags):
            app()
            return 0
        command = shlex.join(["imagewright", "train", *arguments])
        if "-m" in flags or "--multirun" in flags:
            tracking = compose_config(conf, params, [part for part in given if part.startswith("tracking")])["tracking"]
            register_primary(conf, params, given)
            folder = _folder_for(given, "hydra.sweep.dir")
            return sweep.run(app, project.root, folder, tracking["experiment"], command)
        _folder_for(given, "hydra.run.dir")
        app()
    return 0


def _is_override(argument: str) -> bool:
    """Whether it is an override of Hydra's (``key=value``, ``~key``), not one of its flags or a flag's value."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _folder_for(given: Sequence[str], key: str) -> Path:
    """The folder that the command line names under ``key``, or a new one, which is added to it."""
    for part in given:
        if part.startswith(f"{key}="):
            return Path(part.removeprefix(f"{key}=")).resolve()
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        folder = Path("runs", name if number == 1 else f"{name}_{number}").resolve()
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        sys.argv.append(f"{key}={folder}")
        return folder
