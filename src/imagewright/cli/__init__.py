"""The command ``imagewright``."""

from __future__ import annotations

import argparse
import importlib

from imagewright import __version__
from imagewright.stages.command import exit_with

__all__ = ["COMMANDS", "main"]

# Command -> what it does. Each is a module of this package, imported only when it is called.
COMMANDS = {
    "train": "train on the prepared data with other choices, or sweep over them with -m (a Hydra app)",
    "summary": "print the test scores of the last `dvc repro`, and where its results are",
    "compare": "say whether one run is better than another, and where they differ",
    "predict": "predict the classes of images",
    "export": "write the model as ONNX, with all that is needed to use it without imagewright",
    "register": "make a version of the model in MLflow's registry; champion, if it beats the present one",
    "whence": "say which run, code, configuration and data made a file",
    "sync": "send to MLflow what could not be sent before",
    "ui": "open the MLflow UI on this machine",
}


def main() -> None:
    """Run one command and end the process with its status."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {words}" for name, words in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="imagewright",
        description="Declarative, reproducible training of image classifiers. `dvc repro` runs the pipeline itself.",
        epilog=f"commands:\n{listed}\n\n`imagewright COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"imagewright {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=" | ".join(COMMANDS))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the command takes")
    arguments = parser.parse_args()
    exit_with(lambda: importlib.import_module(f"imagewright.cli.{arguments.command}").run(arguments.arguments))
