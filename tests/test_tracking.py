"""Runs in the MLflow store: which are ended, and how."""

from __future__ import annotations

import socket
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from imagewright.errors import TrackingError
from imagewright.home import home
from imagewright.tracking.provenance import code_tags, data_tags
from imagewright.tracking.run import TrackedRun, metric_name
from imagewright.tracking.store import PROCESS_TAGS, end_dead_runs, open_store, tracking_uri


@pytest.fixture(autouse=True)
def local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log to the project's own database, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose database is made once."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def gone() -> tuple[str, str]:
    """Process id and start of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(process.pid).create_time()
    process.communicate(b"\n")
    return str(process.pid), f"{started:.2f}"


def start(root: Path, name: str = "a run") -> TrackedRun:
    return TrackedRun.start(root, "tests", name, {})


def status(run: TrackedRun) -> str:
    return str(run.client.get_run(run.run_id).info.status)


def test_a_run_ends_as_finished_failed_or_killed(root: Path) -> None:
    with start(root) as finished:
        assert status(finished) == "RUNNING"
    with pytest.raises(ValueError, match="too bad"), start(root) as failed:
        raise ValueError("too bad")
    with pytest.raises(KeyboardInterrupt), start(root) as interrupted:
        raise KeyboardInterrupt
    assert [status(run) for run in (finished, failed, interrupted)] == ["FINISHED", "FAILED", "KILLED"]
    tags = failed.client.get_run(failed.run_id).data.tags
    assert tags["imagewright.failure"] == "ValueError: too bad"


def test_metrics_are_there_when_the_run_ends_also_in_failure(root: Path) -> None:
    run = start(root)

    def fail_after_2500_steps() -> None:
        with run:
            for step in range(1, 2501):
                run.log_metrics({"loss": 1 / step}, step)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_2500_steps()
    history = run.client.get_metric_history(run.run_id, "loss")
    assert [(metric.step, metric.value) for metric in history] == [(step, 1 / step) for step in range(1, 2501)]


@pytest.mark.parametrize("names", [["cat", "köter 2", "a.b:c-d_e"]])
def test_a_plain_name_is_the_name_of_its_metric(names: list[str]) -> None:
    assert [metric_name(name, number) for number, name in enumerate(names)] == names


def test_any_name_gives_a_metric_of_its_own(root: Path) -> None:
    names = [
        "..",
        ".",
        "",
        "/etc/passwd",
        "../../x",
        "a/b",
        "a\\b",
        "a_b",
        "<b>",
        '"',
        " a",
        "%",
        "\n",
        "x" * 400,
        "x" * 401,
    ]
    metrics = {f"test/f1/{metric_name(name, number)}": number / 100 for number, name in enumerate(names)}
    assert len(metrics) == len(names)
    with start(root) as run:
        run.log_metrics(metrics, 1)
    assert run.client.get_run(run.run_id).data.metrics == metrics


def test_more_parameters_than_one_request_takes_are_all_logged(root: Path) -> None:
    with start(root) as run:
        run.log_params({f"section.key{number}": number for number in range(230)} | {"long": "x" * 10_000})
    params = run.client.get_run(run.run_id).data.params
    assert len(params) == 231
    assert params["section.key229"] == "229"
    assert len(params["long"]) == 6000


def test_a_resumed_run_goes_on_and_forgets_an_earlier_failure(root: Path) -> None:
    with pytest.raises(ValueError, match="first"), start(root) as run:
        raise ValueError("first")
    resumed = TrackedRun.resume(root, run.run_id)
    assert resumed is not None
    with resumed:
        assert status(run) == "RUNNING"
        resumed.log_metrics({"test/accuracy": 0.5}, 1)
    ended = run.client.get_run(run.run_id)
    assert ended.info.status == "FINISHED"
    assert "imagewright.failure" not in ended.data.tags
    assert ended.data.metrics["test/accuracy"] == 0.5


def test_a_run_that_the_store_does_not_have_cannot_be_resumed(root: Path) -> None:
    assert TrackedRun.resume(root, "0" * 32) is None


def test_runs_of_dead_processes_on_this_host_are_ended_and_no_others(root: Path, gone: tuple[str, str]) -> None:
    client = open_store(root)
    alive, dead, reused, elsewhere, foreign = (start(root, name) for name in ("alive", "dead", "reused", "far", "else"))
    for run, values in (
        (dead, (socket.gethostname(), *gone)),
        # The process id is in use again, by a process that began at another time.
        (reused, (socket.gethostname(), str(psutil.Process().pid), "1.00")),
        (elsewhere, ("another-host", *gone)),
    ):
        run.set_tags(dict(zip(PROCESS_TAGS, values, strict=True)))
    for tag in PROCESS_TAGS:
        client.delete_tag(foreign.run_id, tag)  # logged by other software
    assert sorted(end_dead_runs(client)) == sorted([dead.run_id, reused.run_id])
    assert [status(run) for run in (alive, dead, reused, elsewhere, foreign)] == [
        "RUNNING",
        "KILLED",
        "KILLED",
        "RUNNING",
        "RUNNING",
    ]


def log_one(root: Path, number: int) -> str:
    """Log a run with ten steps, in a process of its own."""
    with TrackedRun.start(root, "parallel", f"run {number}", {}) as run:
        for step in range(10):
            run.log_metrics({"value": number + step}, step)
    return run.run_id


@pytest.mark.slow
def test_processes_that_begin_at_once_on_a_fresh_store_lose_nothing(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        ids = list(pool.map(log_one, [tmp_path] * 4, range(4)))
    client = MlflowClient(tracking_uri(tmp_path))
    for number, run_id in enumerate(ids):
        assert [metric.value for metric in client.get_metric_history(run_id, "value")] == [
            number + step for step in range(10)
        ]
    assert len({client.get_run(run_id).info.experiment_id for run_id in ids}) == 1


def test_the_store_is_in_the_project_unless_the_environment_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tracking_uri(tmp_path) == f"sqlite:///{tmp_path}/mlruns/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:5999")
    assert tracking_uri(tmp_path) == "http://127.0.0.1:5999"


def test_a_store_that_cannot_be_opened_is_an_error_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_file").write_text("in the way")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/a_file/mlflow.db")
    with pytest.raises(TrackingError, match=r"a_file/mlflow\.db cannot be used"):
        open_store(tmp_path)


def test_a_server_that_does_not_answer_is_an_error_that_does_not_tell_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # a port at which nobody listens
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{port}")
        with pytest.raises(TrackingError, match=rf"http://127\.0\.0\.1:{port} cannot be used") as refused:
            open_store(tmp_path)
    assert "secret" not in str(refused.value)


def test_a_queued_experiment_of_dvc_logs_to_the_project_that_queued_it(tmp_path: Path) -> None:
    assert home(tmp_path / ".dvc" / "tmp" / "exps" / "tmpabc") == tmp_path
    assert home(tmp_path) == tmp_path


def test_code_tags_tell_the_commit_and_what_differs_from_it(tmp_path: Path) -> None:
    assert code_tags(tmp_path, ["results"]) == {}

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=Test", "-c", "user.email=test@example.invalid"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    (tmp_path / "code.py").write_text("1")
    git("add", "--all")
    git("commit", "--quiet", "--message=one")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "metrics.json").write_text("{}")
    clean = code_tags(tmp_path, ["results"])
    assert clean["mlflow.source.git.commit"] == git("rev-parse", "HEAD")
    assert (clean["mlflow.source.git.branch"], clean["git.dirty"]) == ("main", "false")
    (tmp_path / "code.py").write_text("2")
    dirty = code_tags(tmp_path, ["results"])
    assert dirty["git.dirty"] == "true"
    assert "code.py" in dirty["git.changed"]


def test_data_tags_are_sha256_sums_of_files(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("a,b\n")
    summed = subprocess.run(["sha256sum", tmp_path / "samples.csv"], capture_output=True, text=True, check=True)
    assert data_tags({"samples": tmp_path / "samples.csv"}) == {"data.samples": summed.stdout.split()[0]}
