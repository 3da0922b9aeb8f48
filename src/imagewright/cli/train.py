"""``imagewright train``: a Hydra app on the same ``conf/`` and ``params.yaml`` as ``dvc repro``."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import hydra

from imagewright.cli.job import SWEEP, run_job
from imagewright.config.composition import PRIMARY, compose_config, hydra_errors, register_primary
from imagewright.config.hydra_node import check_hydra_files
from imagewright.errors import ConfigError
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
        if not _is_multirun(flags, given):
            compose_config(conf, params, given)  # what is wrong is said before a folder is made
            _folder_for(given, "hydra.run.dir")
            app()
            return 0
        from imagewright.cli import sweep  # imports MLflow, which takes a second

        command = shlex.join(["imagewright", "train", *arguments])
        experiment = [part for part in given if part.lstrip("+").startswith("tracking") and "," not in part]
        tracking = compose_config(conf, params, experiment)["tracking"]
        register_primary(conf, params, given)
        return sweep.run(app, project.root, _folder_for(given, "hydra.sweep.dir"), tracking["experiment"], command)


def _is_multirun(flags: Sequence[str], given: Sequence[str]) -> bool:
    if any(part.lstrip("+").startswith("hydra.mode=") for part in given):
        raise ConfigError("hydra.mode: a sweep is asked for by the flag -m; leave the key out")
    return any(flag == "-m" or (len(flag) > 2 and "--multirun".startswith(flag)) for flag in flags)


def _is_override(argument: str) -> bool:
    """Whether it is an override of Hydra's (``key=value``, ``~key``), not one of its flags or a flag's value."""
    return not argument.startswith("-") and ("=" in argument or argument.startswith("~"))


def _folder_for(given: Sequence[str], key: str) -> Path:
    """The folder that the command line names under ``key``, or a new one, which is added to it."""
    for part in given:
        if part.startswith(f"{key}="):
            folder = Path(part.removeprefix(f"{key}="))
            if "$" in part or (folder / SWEEP).exists():
                raise ConfigError(f"{key}: must be the path of a new folder, got {str(folder)!r}; give another one")
            return folder.resolve()
    name = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    number = 1
    while True:
        # Relative, since the path of the project may hold what Hydra's grammar takes for something else.
        folder = Path("runs", name if number == 1 else f"{name}_{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
            continue
        sys.argv.append(f"{key}={folder}")
        return folder.resolve()
