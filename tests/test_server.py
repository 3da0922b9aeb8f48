"""A real MLflow server: it receives runs, goes away in the middle of one, comes back."""

from __future__ import annotations

import csv
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from conftest import Project
from servers import free_port, mlflow_server

pytestmark = pytest.mark.slow


def runs_at(url: str) -> list[Run]:
    client = MlflowClient(url)
    return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def epochs_of(project: Project) -> list[dict[str, str]]:
    with (project.root / "models" / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def pending(project: Project) -> list[Path]:
    return list((project.root / "mlruns" / "pending").glob("*/journal.jsonl"))


@contextmanager
def repro_at(project: Project, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``dvc repro`` that logs to a server, while the test goes on."""
    with (
        log.open("wb") as file,
        subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.root,
            env=project.environment({"MLFLOW_TRACKING_URI": url}),
            stdout=file,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def test_a_training_goes_on_without_its_server_and_one_command_sends_all_of_it_once(
    ready: Project, tmp_path: Path
) -> None:
    ready.choose(override={"trainer.max_epochs": 60, "callbacks.early_stopping": None})
    port = free_port()
    log = tmp_path / "repro.log"
    server = mlflow_server(tmp_path, port)
    url = server.__enter__()
    alive = True
    try:
        with repro_at(ready, url, log) as repro:
            until = time.monotonic() + 120
            while not any("train/loss" in run.data.metrics for run in runs_at(url)):
                assert time.monotonic() < until
                assert repro.poll() is None
                time.sleep(0.2)
            server.__exit__(None, None, None)
            alive = False
            assert repro.poll() is None, "the training was over before the server was killed"
            assert repro.wait(timeout=300) == 0
    finally:
        if alive:
            server.__exit__(None, None, None)
    printed = log.read_text("utf-8")
    assert "Traceback" not in printed
    assert "the work goes on" in printed
    assert "`imagewright sync`" in printed
    assert len(pending(ready)) == 1

    with mlflow_server(tmp_path, port) as url:
        (half,) = runs_at(url)
        assert half.info.status == "RUNNING"
        sent = ready.run("imagewright", "sync", env={"MLFLOW_TRACKING_URI": url})
        assert half.info.run_id in sent
        (run,) = runs_at(url)
        assert run.info.run_id == half.info.run_id
        assert run.info.status == "FINISHED"
        client = MlflowClient(url)
        for name in ("train/loss", "validation/accuracy"):
            logged = client.get_metric_history(run.info.run_id, name)
            assert [metric.step for metric in logged] == list(range(1, 61))
            assert [metric.value for metric in logged] == [float(row[name]) for row in epochs_of(ready)]
        assert "test/accuracy" in run.data.metrics
        assert {file.path for file in client.list_artifacts(run.info.run_id, "evaluation")} >= {
            "evaluation/predictions.csv",
            "evaluation/scores.json",
        }
        names = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
        keys = [name.split("+")[0] for name in names]
        assert len(keys) == len(set(keys)) >= 10
        assert len(run.outputs.model_outputs) == 1
        assert pending(ready) == []
        assert "nothing waits" in ready.run("imagewright", "sync", env={"MLFLOW_TRACKING_URI": url})
        assert len(runs_at(url)) == 1


def test_a_server_that_takes_connections_and_says_nothing_does_not_stop_a_training(ready: Project) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(128)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        printed = ready.run("imagewright", "train", "model=mlp", env={"MLFLOW_TRACKING_URI": url})
    assert "does not answer (timed out)" in printed
    assert "best is epoch" in printed
    assert len(pending(ready)) == 1
    refused = ready.run("imagewright", "sync", status=1)
    assert f"is meant for {url}" in refused
    assert "--here" in refused
    assert "sent 'model=mlp'" in ready.run("imagewright", "sync", "--here")
    assert pending(ready) == []
