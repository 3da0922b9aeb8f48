"""Runs in the MLflow store: what is said arrives once, whatever ends before it was sent."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image

from imagewright.errors import TrackingError
from imagewright.home import home
from imagewright.tracking.delivery import Delivery
from imagewright.tracking.journal import Journal, journals
from imagewright.tracking.place import tracking_uri
from imagewright.tracking.process import PROCESS_TAGS, process_tags
from imagewright.tracking.provenance import DatasetUse, code_changes, code_tags, digest_of
from imagewright.tracking.run import TrackedRun, metric_name
from imagewright.tracking.store import end_dead_runs, open_store


@pytest.fixture(autouse=True)
def local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Log to the project's own database, whatever the environment says."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose database is made once."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def gone() -> dict[str, str]:
    """Tags of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    tags = process_tags(process.pid)
    process.communicate(b"\n")
    return tags


def start(root: Path, name: str = "a run") -> TrackedRun:
    return TrackedRun.start(root, "tests", name, {})


def resume(root: Path, run: TrackedRun) -> TrackedRun:
    return TrackedRun.resume(root, run.key, run.run_id, experiment="tests", name="another", tags={})


def stored(root: Path, run: TrackedRun) -> Run:
    assert run.run_id is not None
    return open_store(root).get_run(run.run_id)


def status(root: Path, run: TrackedRun) -> str:
    return str(stored(root, run).info.status)


def test_a_run_ends_as_finished_failed_or_killed(root: Path) -> None:
    with start(root) as finished:
        assert finished.run_id is None
    with pytest.raises(ValueError, match="too bad"), start(root) as failed:
        raise ValueError("too bad")
    with pytest.raises(KeyboardInterrupt), start(root) as interrupted:
        raise KeyboardInterrupt
    assert [status(root, run) for run in (finished, failed, interrupted)] == ["FINISHED", "FAILED", "KILLED"]
    assert stored(root, failed).data.tags["imagewright.failure"] == "ValueError: too bad"
    assert stored(root, finished).data.tags["imagewright.key"] == finished.key
    assert journals(root) == []


def test_metrics_are_there_when_the_run_ends_also_in_failure(root: Path) -> None:
    run = start(root)

    def fail_after_2500_steps() -> None:
        with run:
            for step in range(1, 2501):
                run.log_metrics({"loss": 1 / step}, step)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_2500_steps()
    history = open_store(root).get_metric_history(str(run.run_id), "loss")
    assert [(metric.step, metric.value) for metric in history] == [(step, 1 / step) for step in range(1, 2501)]


def test_a_run_that_goes_on_can_be_seen(root: Path) -> None:
    with start(root) as run:
        run.log_metrics({"loss": 0.5}, 1)
        seen = wait_for(lambda: run_of(root, run.key))
        assert seen.info.status == "RUNNING"
    assert stored(root, run).data.metrics["loss"] == 0.5


def run_of(root: Path, key: str) -> Run | None:
    """The run with that key, if it has the metric loss."""
    client = open_store(root)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, f"tags.`imagewright.key` = '{key}'")
    return found[0] if found and "loss" in found[0].data.metrics else None


def wait_for(look, seconds: float = 30.0):  # type: ignore[no-untyped-def]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(f"not seen within {seconds} seconds")


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
    assert stored(root, run).data.metrics == metrics


def test_all_parameters_are_logged_and_none_is_cut(root: Path) -> None:
    long = "".join(chr(ord("a") + number % 26) for number in range(13_000))
    with start(root) as run:
        run.log_params({f"section.key{number}": number for number in range(230)} | {"long": long})
    params = stored(root, run).data.params
    assert len(params) == 233
    assert params["section.key229"] == "229"
    assert "".join(params[f"long part {number} of 3"] for number in (1, 2, 3)) == long


def test_a_resumed_run_goes_on_and_forgets_an_earlier_failure(root: Path) -> None:
    with pytest.raises(ValueError, match="first"), start(root) as run:
        raise ValueError("first")
    with resume(root, run) as resumed:
        resumed.log_metrics({"test/accuracy": 0.5}, 1)
    assert resumed.run_id == run.run_id
    ended = stored(root, run)
    assert ended.info.status == "FINISHED"
    assert "imagewright.failure" not in ended.data.tags
    assert ended.data.metrics["test/accuracy"] == 0.5


def test_what_is_said_of_a_run_that_was_deleted_becomes_a_run_of_its_own(root: Path) -> None:
    with start(root) as run:
        pass
    open_store(root).delete_run(str(run.run_id))
    with resume(root, run) as resumed:
        resumed.log_metrics({"test/accuracy": 0.5}, 1)
    assert resumed.run_id != run.run_id
    assert stored(root, resumed).info.run_name == "another"
    assert status(root, resumed) == "FINISHED"


def test_a_run_that_has_nothing_to_say_is_deleted(root: Path) -> None:
    with start(root) as run:
        run.discard()
    assert stored(root, run).info.lifecycle_stage == "deleted"


def test_pictures_data_sets_system_metrics_and_a_description_are_logged(root: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "curves.png")
    uses = [
        DatasetUse("train", "digits", "0123456789abcdef", str(tmp_path), (30, 8, 8, 1), {"a": 10, "b": 20}),
        DatasetUse("test", "digits", "fedcba9876543210", str(tmp_path), (5, 8, 8, 1), {"a": 5, "b": 0}),
    ]
    with TrackedRun.start(root, "tests", "everything", {"data.test": "x"}, system_metrics=0.2) as run:
        run.log_image(tmp_path / "curves.png", "test/curves", 3)
        run.log_inputs(uses)
        run.log_text("seed: 1\n", "config.yaml")
        run.describe("A **good** one")
    ended, client = stored(root, run), open_store(root)
    inputs = {given.tags[0].value: given.dataset for given in ended.inputs.dataset_inputs}
    assert {context: dataset.digest for context, dataset in inputs.items()} == {use.context: use.digest for use in uses}
    profile = json.loads(inputs["train"].profile)
    assert profile["images_by_class"] == {"a": 10, "b": 20}
    assert profile["features_shape"] == [30, 8, 8, 1]
    assert ended.data.tags["mlflow.note.content"] == "A **good** one"
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(ended.data.metrics)
    pictures = [file.path for file in client.list_artifacts(run.run_id, "images") if file.path.endswith(".png")]
    assert len(pictures) == 1
    with Image.open(client.download_artifacts(run.run_id, pictures[0], str(tmp_path))) as picture:
        assert picture.size == (40, 30)
        assert picture.getpixel((5, 5)) == (200, 10, 10)
    assert Path(client.download_artifacts(run.run_id, "config.yaml", str(tmp_path))).read_text() == "seed: 1\n"


# --- nothing is lost, and nothing is there twice ----------------------------------------------------------------------


def said(root: Path, picture: Path, end: bool = True) -> Journal:
    """A record that nobody has sent yet."""
    journal = Journal.of(root, os.urandom(16).hex())
    journal.append("start", experiment="tests", name="kept", tags=process_tags(), parent=None)
    journal.append("params", params={"model.dropout": "0.3"})
    for step in (1, 2, 3):
        journal.append("metrics", metrics={"loss": 1 / step, "accuracy": step / 3}, step=step)
    journal.append("artifact", file=journal.keep(picture), folder="evaluation")
    journal.append("image", file=journal.keep(picture), key="curves", step=1)
    if end:
        journal.append("end", status="FINISHED")
    return journal


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.new("L", (20, 20), 90).save(tmp_path / "curves.png")
    return tmp_path / "curves.png"


@pytest.mark.parametrize("from_the_start", [False, True])
def test_a_record_that_is_sent_twice_counts_once(root: Path, picture: Path, from_the_start: bool) -> None:
    journal, client = said(root, picture), open_store(root)
    first = Delivery(client, root, journal)
    assert first.send()
    state = journal.state
    # As if the process had been killed before it could take down what it had sent: at all, or the last thing.
    journal.state = {"tried": state["tried"]} if from_the_start else {**state, "offset": 0}
    second = Delivery(client, root, journal)
    assert second.send()
    assert first.run_id == second.run_id
    run_id = str(first.run_id)
    for name in ("loss", "accuracy"):
        assert [metric.step for metric in client.get_metric_history(run_id, name)] == [1, 2, 3]
    assert [file.path for file in client.list_artifacts(run_id, "evaluation")] == ["evaluation/curves.png"]
    assert len(client.list_artifacts(run_id, "images")) == 2  # the picture, and its small copy
    assert client.get_run(run_id).info.status == "FINISHED"
    journal.remove()


def test_a_line_that_a_killed_process_has_begun_is_no_part_of_the_record(root: Path, picture: Path) -> None:
    journal = said(root, picture, end=False)
    whole = [entry["op"] for entry, _ in journal.entries()]
    with (journal.folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"op": "metrics", "metr')
    assert [entry["op"] for entry, _ in journal.entries()] == whole
    journal.mend()
    journal.append("end", status="KILLED")
    assert [entry["op"] for entry, _ in journal.entries()] == [*whole, "end"]
    journal.remove()


def test_the_record_of_a_process_that_died_is_sent_by_the_next_run(
    root: Path, picture: Path, gone: dict[str, str]
) -> None:
    dead, elsewhere, alive = (said(root, picture, end=False) for _ in range(3))
    for journal, owner in ((dead, gone), (elsewhere, {**gone, "imagewright.host": "another-host"})):
        (journal.folder / "owner.json").write_text(json.dumps({**owner, "uri": tracking_uri(root)}))
    with start(root):
        pass
    assert {journal.key for journal in journals(root)} == {elsewhere.key, alive.key}
    killed = run_of(root, dead.key)
    assert killed is not None
    assert killed.info.status == "KILLED"
    assert killed.data.metrics == {"loss": 1 / 3, "accuracy": 1.0}
    assert "process ended" in killed.data.tags["imagewright.failure"]
    for journal in (elsewhere, alive):
        journal.remove()


@pytest.mark.slow
def test_a_run_whose_process_is_killed_is_closed_by_the_process_that_sends(root: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from imagewright.tracking.run import TrackedRun\n"
        "with TrackedRun.start(Path(sys.argv[1]), 'tests', 'doomed', {}) as run:\n"
        "    run.log_metrics({'loss': 0.25}, 7); print(run.key, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(root)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        key = process.stdout.readline().strip()
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(journal.key == key for journal in journals(root)))
    run = run_of(root, key)
    assert run is not None
    assert (run.info.status, run.data.metrics["loss"]) == ("KILLED", 0.25)


@pytest.mark.slow
def test_what_a_killed_sender_did_not_send_is_sent_at_the_end(root: Path) -> None:
    with start(root) as run:
        (sender,) = (child for child in psutil.Process().children() if "imagewright.tracking.sender" in child.cmdline())
        sender.kill()
        run.log_metrics({"loss": 0.125}, 1)
    assert status(root, run) == "FINISHED"
    assert stored(root, run).data.metrics["loss"] == 0.125
    assert journals(root) == []


def test_runs_of_dead_processes_on_this_machine_are_ended_and_no_others(root: Path, gone: dict[str, str]) -> None:
    client = open_store(root)
    experiment = client.create_experiment("dead or alive")
    here = process_tags()
    tags = {
        "alive": here,
        "dead": gone,
        # The process id is in use again, by a process that began at another time.
        "reused": {**here, "imagewright.process_started": "1.00"},
        "other host": {**gone, "imagewright.host": "another-host"},
        # Another machine with the same name.
        "same name": {**gone, "imagewright.machine": "0" * 16},
        "foreign": {},  # logged by other software
    }
    runs = {name: client.create_run(experiment, tags=values).info.run_id for name, values in tags.items()}
    assert sorted(end_dead_runs(client)) == sorted([runs["dead"], runs["reused"]])
    assert {name: client.get_run(run_id).info.status for name, run_id in runs.items()} == {
        "alive": "RUNNING",
        "dead": "KILLED",
        "reused": "KILLED",
        "other host": "RUNNING",
        "same name": "RUNNING",
        "foreign": "RUNNING",
    }
    assert set(here) == set(PROCESS_TAGS)


def log_one(root: Path, number: int) -> str:
    """Log a run with ten steps, in a process of its own."""
    with TrackedRun.start(root, "parallel", f"run {number}", {}) as run:
        for step in range(10):
            run.log_metrics({"value": number + step}, step)
    return str(run.run_id)


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


def test_a_run_does_not_fail_with_its_store_and_keeps_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a_file").write_text("in the way")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/a_file/mlflow.db")
    with start(tmp_path) as run:
        run.log_metrics({"loss": 0.5}, 1)
    assert run.run_id is None
    assert "a_file/mlflow.db cannot be used" in capsys.readouterr().err
    (journal,) = journals(tmp_path)
    assert journal.key == run.key
    assert journal.ended


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
    # The patch that a run keeps makes the same of a clean checkout.
    patch = code_changes(tmp_path, ["results"])
    git("checkout", "--quiet", "--", "code.py")
    assert code_changes(tmp_path, ["results"]) == ""
    (tmp_path / "changes.patch").write_text(f"{patch}\n")
    git("apply", "changes.patch")
    assert (tmp_path / "code.py").read_text() == "2"


def test_a_digest_is_the_sha256_sum_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("a,b\n")
    summed = subprocess.run(["sha256sum", tmp_path / "samples.csv"], capture_output=True, text=True, check=True)
    assert digest_of(tmp_path / "samples.csv") == summed.stdout.split()[0]
