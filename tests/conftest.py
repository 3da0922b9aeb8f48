"""A project of its own for each test that runs the pipeline, and one finished `dvc repro` that they share."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[1]
# Epochs of a pipeline under test: enough to have a history, few enough to be quick.
EPOCHS = 2


def hear_interrupts() -> None:
    """In a new process: where a shell starts the tests in the background, they and what they start ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Project:
    """A copy of the project in a temporary folder, with commands that run in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def run(self, *command: str, status: int | None = 0, env: Mapping[str, str] | None = None) -> str:
        """Run a command and return what it printed; fail if its exit status is not ``status`` (None: any)."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment(env),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if status is not None:
            assert done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a user: the commands of this Python in front, no tracking server, the copy's own code."""
        environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        environment["PYTHONPATH"] = str(self.root / "src")
        return {**environment, **(more or {})}

    def repro(self, *arguments: str, status: int = 0) -> list[str]:
        """Run ``dvc repro`` and return the stages that it ran."""
        printed = self.run("dvc", "repro", *arguments, status=status)
        return [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")]

    def choose(self, **choices: object) -> None:
        """Change params.yaml: groups by name, values by ``override={path: value}``."""
        path = self.root / "params.yaml"
        params = OmegaConf.load(path)
        for group, value in choices.items():
            if group == "override":
                value = {**(params.override or {}), **value}  # type: ignore[dict-item]
            params[group] = value
        OmegaConf.save(params, path)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace a text that must be there."""
        content = (self.root / path).read_text("utf-8")
        assert old in content
        (self.root / path).write_text(content.replace(old, new), encoding="utf-8")


def copy_project(folder: Path) -> Project:
    """What git would have in a fresh clone of the working tree, committed in a new repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    written = ("config.yaml", "dvc.lock", "reports/")
    for name in listed.stdout.decode().split("\0"):
        if name and not name.startswith(written) and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    project = Project(folder)
    project.choose(override={"trainer.max_epochs": EPOCHS})
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "config", "user.name", "Test")
    project.run("git", "config", "user.email", "test@example.invalid")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message=start")
    return project


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project in which nothing has run."""
    return copy_project(tmp_path / "project")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project after one `dvc repro`, for all tests: read it, never change it."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    project.repro()
    return project


def copy_finished(finished: Project, folder: Path) -> Project:
    """A copy of a finished project, without its runs."""
    shutil.copytree(finished.root, folder, ignore=shutil.ignore_patterns("mlruns"))
    return Project(folder)


@pytest.fixture
def ready(finished: Project, tmp_path: Path) -> Project:
    """A copy of the finished project, to be changed; its runs are logged anew."""
    return copy_finished(finished, tmp_path / "project")
