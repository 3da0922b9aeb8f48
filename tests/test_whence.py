"""`imagewright whence`: what made a file."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from imagewright.cli import whence
from imagewright.tracking.store import open_store
from stored import add_run, checkpoint, ended, make_project

Said = tuple[int, str, str]


@pytest.fixture(autouse=True)
def local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without a store, as the current folder."""
    root = make_project(tmp_path / "a project")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[[Path | str], Said]:
    """Exit status, standard output and standard error of the command."""

    def asked(path: Path | str) -> Said:
        status = ended(lambda: whence.run([str(path)]))
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return asked


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def made(folder: Path, files: Sequence[str] = ("best.ckpt",), *, name: str = "a run", **more: object) -> Path:
    """A folder with files and their record, as stages leave it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        path = folder / file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{folder}/{file}")
    said = {
        "key": hashlib.md5(name.encode()).hexdigest(),
        "run_id": hashlib.md5(b"id" + name.encode()).hexdigest(),
        "run_name": name,
        "when": "2026-01-02T03:04:05+00:00",
        "command": "dvc repro",
        "commit": "c" * 40,
        "dirty": False,
        "config_sha256": "d" * 64,
        "data": {"train": "1" * 16, "test": "2" * 16},
        "files": {file: digest(folder / file) for file in files},
    }
    (folder / "run.json").write_text(json.dumps({**said, **more, "best_epoch": 3}))
    return folder


def test_a_model_names_its_run_commit_configuration_and_data(root: Path, ask: Callable[[Path], Said]) -> None:
    made(root / "models")
    status, printed, _ = ask(root / "models" / "best.ckpt")
    assert status == 0
    assert printed.startswith("models/best.ckpt: was made by\n")
    rows = dict(re.findall(r"^(\w[\w ]*?)  +(.+)$", printed, re.MULTILINE))
    assert rows == {
        "run": "a run",
        "id": hashlib.md5(b"ida run").hexdigest(),
        "made": "2026-01-02T03:04:05+00:00",
        "command": "dvc repro",
        "commit": "c" * 40,
        "configuration": f"SHA-256 {'d' * 64}",
        "data": f"train {'1' * 16}",
        "said by": "models/run.json",
    }
    assert f"test {'2' * 16}\n" in printed
    assert not (root / "mlruns").exists()


def test_a_commit_with_changes_is_said_so(root: Path, ask: Callable[[Path], Said]) -> None:
    made(root / "models", dirty=True)
    assert f"{'c' * 40}, with changes that were not committed" in ask(root / "models" / "best.ckpt")[1]


def test_the_configuration_is_named_where_it_can_still_be_read(root: Path, ask: Callable[[Path], Said]) -> None:
    folder = root / "runs" / "one"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 1\n")
    made(folder, config_sha256=digest(folder / "config.yaml"))
    assert f"{folder}/config.yaml (SHA-256 " in ask(folder / "best.ckpt")[1]


@pytest.mark.parametrize("file", ["index.html", "predictions.csv", "../index.html", "pictures/curves.png"])
def test_reports_are_covered_by_the_record_of_the_evaluation(
    root: Path, ask: Callable[[Path], Said], file: str
) -> None:
    folder = made(root / "reports" / "evaluation", [file], name="evaluated")
    status, printed, _ = ask(folder / file)
    assert status == 0
    assert "evaluated" in printed
    assert "reports/evaluation/run.json" in printed


@pytest.mark.parametrize("place", ["models", "runs/one", "runs/sweep/3", "exports/one"])
def test_a_file_that_was_copied_elsewhere_is_known_by_its_bytes(
    root: Path, ask: Callable[[Path], Said], tmp_path: Path, place: str
) -> None:
    folder = made(root / place)
    copy = tmp_path / "renamed.bin"
    copy.write_bytes((folder / "best.ckpt").read_bytes())
    status, printed, _ = ask(copy)
    assert status == 0
    assert f"{place}/run.json" in printed


def test_a_folder_tells_what_made_its_files(root: Path, ask: Callable[[Path], Said]) -> None:
    made(root / "runs" / "sweep" / "0", name="first")
    made(root / "runs" / "sweep" / "1", name="second")
    status, printed, _ = ask(root / "runs" / "sweep")
    assert status == 0
    assert re.findall(r"^run +(\w+)$", printed, re.MULTILINE) == ["first", "second"]
    (root / "runs" / "sweep" / "1" / "best.ckpt").write_text("something else")
    (root / "runs" / "sweep" / "0" / "best.ckpt").unlink()
    status, printed, _ = ask(root / "runs" / "sweep")
    assert status == 1
    assert "runs/sweep/0/best.ckpt: is missing\n" in printed
    assert "runs/sweep/1/best.ckpt: was changed since\n" in printed


def test_a_file_that_was_changed_since_is_said_so(root: Path, ask: Callable[[Path], Said]) -> None:
    folder = made(root / "models", ["best.ckpt", "last.ckpt"])
    old = digest(folder / "best.ckpt")
    (folder / "best.ckpt").write_text("something else")
    status, printed, _ = ask(folder / "best.ckpt")
    assert status == 1
    new = digest(folder / "best.ckpt")
    assert printed == (
        f"models/best.ckpt: was changed since run 'a run' made it: by models/run.json its SHA-256 was {old}, now it is "
        f"{new}\n"
    )
    # The bytes of another file that is known.
    (folder / "best.ckpt").write_bytes((folder / "last.ckpt").read_bytes())
    status, printed, _ = ask(folder / "best.ckpt")
    assert status == 1
    assert "was changed since" in printed
    assert "models/best.ckpt: was made by" in printed


def test_a_link_to_a_file_is_the_file(root: Path, ask: Callable[[Path], Said], tmp_path: Path) -> None:
    folder = made(root / "models")
    (folder / "best.ckpt").rename(tmp_path / "cached")
    (folder / "best.ckpt").symlink_to(tmp_path / "cached")
    assert ask(folder / "best.ckpt")[0] == 0
    (tmp_path / "cached").write_text("something else")
    assert ask(folder / "best.ckpt")[0] == 1


def test_an_export_tells_by_itself_what_made_it(
    root: Path, ask: Callable[[Path], Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path / "far" / "export", ["model.onnx"], name="exported")
    provenance = json.loads((folder / "run.json").read_text())
    (folder / "run.json").unlink()
    (folder / "model.json").write_text(json.dumps({"classes": ["a"], "provenance": provenance}))
    monkeypatch.chdir(tmp_path)  # outside of any project
    for path in (folder, folder / "model.onnx", folder / "model.json"):
        status, printed, _ = ask(path)
        assert status == 0
        assert re.search(r"^run +exported$", printed, re.MULTILINE)
    assert not (tmp_path / "mlruns").exists()


def test_an_exported_model_that_was_changed_is_not_taken_for_that_of_the_run(
    root: Path, ask: Callable[[Path], Said], tmp_path: Path
) -> None:
    folder = made(tmp_path / "far" / "export", ["model.onnx"], name="exported")
    provenance = json.loads((folder / "run.json").read_text())
    (folder / "run.json").unlink()
    files = provenance.pop("files")
    (folder / "model.json").write_text(json.dumps({"provenance": provenance, "files": files}))
    assert ask(folder / "model.onnx")[0] == 0
    (folder / "model.onnx").write_bytes(b"another")
    for path in (folder, folder / "model.onnx"):
        status, printed, _ = ask(path)
        assert status == 1
        assert "model.onnx: was changed since" in printed


@pytest.mark.parametrize("external", [False, True])
def test_a_model_in_onnx_carries_what_made_it(
    root: Path, ask: Callable[[Path], Said], tmp_path: Path, external: bool
) -> None:
    folder = made(tmp_path / "far", name="exported")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1000])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1000], [1.0] * 1000)
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "graph",
        [value],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1000])],
        [weight],
    )
    model = helper.make_model(graph)
    helper.set_model_props(model, {"classes": "a, b", "provenance": (folder / "run.json").read_text()})
    path = tmp_path / "elsewhere" / "model.onnx"
    path.parent.mkdir()
    onnx.save(model, path, save_as_external_data=external, location="weights.bin", size_threshold=10)
    (path.parent / "weights.bin").unlink(missing_ok=True)
    status, printed, _ = ask(path)
    assert status == 0
    assert re.search(r"^run +exported$", printed, re.MULTILINE)
    assert str(path) in printed.rpartition("said by")[2]
    path.write_bytes(path.read_bytes()[:40])
    assert ask(path)[0] == 2


def test_what_nobody_made_is_an_error(root: Path, ask: Callable[[Path], Said], tmp_path: Path) -> None:
    (tmp_path / "alien").write_text("alien")
    for record in ("run.json", "model.json"):
        for content in ("{", "[]", "{}", '"text"', '{"provenance": 1}', '{"run_name": "x", "run_id": "y", "files": 3}'):
            (tmp_path / record).write_text(content)
            status, _, error = ask(tmp_path / "alien")
            assert status == 2
            assert f"nothing says which run made it (SHA-256 {digest(tmp_path / 'alien')})" in error
    status, _, error = ask(tmp_path / "missing")
    assert status == 2
    assert "missing: does not exist" in error
    (tmp_path / "empty").mkdir()
    status, _, error = ask(tmp_path / "empty")
    assert status == 2
    assert "empty: has no run.json or model.json that names a run" in error


def test_names_of_any_kind_are_printed_on_one_line(root: Path, ask: Callable[[str], Said]) -> None:
    name = os.fsdecode(b"new\nline \xff\x1b[31m.png")
    folder = made(root / "reports" / "evaluation", ["plain.png"], name="run\nid      forged\x1b[31m")
    (folder / name).write_bytes((folder / "plain.png").read_bytes())
    status, printed, _ = ask(str(folder / name))
    assert status == 0
    assert "\x1b" not in printed
    assert printed.startswith("reports/evaluation/new\\nline \\xff\\x1b[31m.png: was made by\n")
    assert len(re.findall(r"^id ", printed, re.MULTILINE)) == 1


# --- with a store -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_is_found_in_mlflow_and_all_runs_that_made_it_are_named(
    root: Path, ask: Callable[[Path], Said], tmp_path: Path
) -> None:
    sha256 = checkpoint(tmp_path / "best.ckpt")
    tags = {
        "mlflow.source.name": "imagewright train model=mlp",
        "mlflow.source.git.commit": "e" * 40,
        "git.dirty": "true",
        "data.train": "7" * 16,
    }
    older, newer = (
        add_run(root, name, ["a"], ["a"], tags=tags | {tag: sha256}, experiment=name, at=at, artifacts=False)
        for name, tag, at in (
            ("older", "sha256.best.ckpt", 1_700_000_000_000),
            ("newer", "sha256.last.ckpt", 1_700_000_060_000),
        )
    )
    add_run(root, "another", ["a"], ["a"], tags={"sha256.best.ckpt": "0" * 64}, artifacts=False)
    status, printed, _ = ask(tmp_path / "best.ckpt")
    assert status == 0
    assert "2 runs made the same bytes, the newest first:" in printed
    assert re.findall(r"^id +(\w+)$", printed, re.MULTILINE) == [newer, older]
    for words in ("imagewright train model=mlp", "e" * 40, "with changes", "train " + "7" * 16, "config.yaml among"):
        assert words in printed
    # The record beside it names one of them, with more.
    made(tmp_path, run_id=older, name="older", when="2026-01-02T03:04:05+00:00")
    status, printed, _ = ask(tmp_path / "best.ckpt")
    assert re.findall(r"^id +(\w+)$", printed, re.MULTILINE) == [older, newer]
    assert f"said by        {tmp_path}/run.json, MLflow\n" in printed


def test_a_run_that_was_sent_later_is_found_by_its_key(root: Path, ask: Callable[[Path], Said]) -> None:
    made(root / "models", run_id=None, key="a" * 32)
    printed = ask(root / "models" / "best.ckpt")[1]
    assert "id             not known when this was written" in printed
    run_id = add_run(root, "sent", ["a"], ["a"], tags={"imagewright.key": "a" * 32}, artifacts=False)
    printed = ask(root / "models" / "best.ckpt")[1]
    assert f"id             {run_id}\n" in printed
    assert f"SHA-256 {'d' * 64}, config.yaml among the artifacts of the run\n" in printed


def test_a_server_that_does_not_answer_is_needed_only_for_what_no_record_lists(
    root: Path, ask: Callable[[Path], Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(root / "models")
    (tmp_path / "alien").write_text("alien")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        known, alien = ask(root / "models" / "best.ckpt"), ask(tmp_path / "alien")
    assert known[0] == 0
    assert "a run" in known[1]
    assert f"note: MLflow: the store {url} cannot be used" in known[2]
    assert alien[0] == 2
    assert f"error: MLflow: the store {url} cannot be used" in alien[2]


def test_no_store_is_made_by_a_question(root: Path, ask: Callable[[Path], Said]) -> None:
    (root / "file").write_text("x")
    assert ask(root / "file")[0] == 2
    assert not (root / "mlruns").exists()
    open_store(root)
    assert ask(root / "file")[0] == 2
