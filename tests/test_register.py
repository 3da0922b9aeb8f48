"""`imagewright register`, and models by the names that the registry gives them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from mlflow import MlflowClient
from scipy.stats import binomtest

from imagewright.cli import register
from imagewright.errors import DataError
from imagewright.tracking.lookup import PREDICTIONS, fetch, model_of
from imagewright.tracking.store import open_store
from servers import mlflow_server
from stored import add_model, add_run, checkpoint, ended, make_project

LABELS = [str(row % 2) for row in range(100)]


def wrong(number: int, start: int = 0) -> list[str]:
    """Predictions of which so many are wrong, from a row on."""
    return [str(1 - int(label)) if start <= row < start + number else label for row, label in enumerate(LABELS)]


@pytest.fixture(autouse=True)
def local_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: Path) -> Path:
    """A project without runs, as the current folder."""
    root = project_at(tmp_path / "a project", empty)
    monkeypatch.chdir(root)
    return root


def project_at(root: Path, database: Path) -> Path:
    make_project(root)
    (root / "mlruns").mkdir()
    (root / "mlruns" / "mlflow.db").write_bytes(database.read_bytes())
    return root


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose tables are made once."""
    folder = tmp_path_factory.mktemp("empty")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        open_store(folder)
    return folder / "mlruns" / "mlflow.db"


def trained(root: Path, folder: Path, name: str, predicted: list[str], value: float = 0, **more: object) -> str:
    """A run with a model; its id."""
    run_id = add_run(root, name, LABELS, predicted, **more)  # type: ignore[arg-type]
    add_model(root, run_id, folder, value)
    return run_id


def aliases(client: MlflowClient, name: str = "tests") -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def registered(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert ended(lambda: register.run(arguments)) == 0
    return capsys.readouterr().out


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert ended(lambda: register.run(arguments)) == 2
    return capsys.readouterr().err


# --- the champion -----------------------------------------------------------------------------------------------------


def test_the_first_version_is_the_champion_and_carries_what_it_is(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags = {"mlflow.source.git.commit": "c" * 40, "git.dirty": "true"}
    run_id = trained(root, tmp_path, "first", wrong(3), tags=tags)
    assert ended(lambda: register.run(["first"])) == 0
    printed = capsys.readouterr()
    assert f"run 'first' ({run_id[:8]}) is version 1 of 'tests': champion\nThere was no champion" in printed.out
    assert "not that of a commit" in printed.err
    client = open_store(root)
    assert aliases(client) == {"champion": 1}
    version = client.get_model_version("tests", "1")
    assert version.run_id == run_id
    assert version.tags["data.test"] == "0123456789abcdef"
    assert float(version.tags["test/accuracy"]) == 0.97
    assert version.tags["mlflow.source.git.commit"] == "c" * 40
    assert version.tags["run"] == "first"
    assert version.tags["sha256.best.ckpt"] == client.get_run(run_id).data.tags["sha256.best.ckpt"]
    assert version.tags["imagewright.decision"].startswith("There was no champion")
    (model,) = client.search_logged_models(["1"])
    assert json.loads(model.tags["mlflow.modelVersions"]) == [{"name": "tests", "version": 1}]
    for words in ("first", run_id, "accuracy 0.9700", "macro F1", "c" * 40, "with changes"):
        assert words in version.description


@pytest.mark.parametrize(
    ("predicted", "alias", "verb"),
    [
        (wrong(9), "champion", "beats the"),
        (wrong(10, 5), "challenger", "equals the"),
        (wrong(20), "challenger", "is below the"),
    ],
)
def test_a_later_version_is_the_champion_only_if_its_score_is_higher(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], predicted: list[str], alias: str, verb: str
) -> None:
    trained(root, tmp_path, "first", wrong(10))
    trained(root, tmp_path, "second", predicted)
    registered("first", capsys=capsys)
    printed = registered("second", capsys=capsys)
    assert f"is version 2 of 'tests': {alias}" in printed
    assert f"{verb} 0.9000 of version 1 of 'tests', the champion" in printed
    assert aliases(open_store(root)) == ({"champion": 2} if alias == "champion" else {"champion": 1, "challenger": 2})


@pytest.mark.parametrize("metric", ["accuracy", "f1_macro"])
def test_the_paired_test_is_named_with_its_p_value(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], metric: str
) -> None:
    trained(root, tmp_path, "first", wrong(10))
    trained(root, tmp_path, "near", wrong(9, 20))
    trained(root, tmp_path, "far", wrong(0))
    registered("first", "--metric", metric, capsys=capsys)
    near = registered("near", "--metric", metric, capsys=capsys)
    far = registered("far", "--metric", metric, capsys=capsys)
    name = "McNemar's test" if metric == "accuracy" else "Paired bootstrap"
    for printed in (near, far):
        assert f"{name} on 100 images: p" in printed
    assert "may well be chance" in near
    assert "may well be chance" not in far
    if metric == "accuracy":
        assert f"p = {binomtest(9, 19).pvalue:.3f}" in near
        assert f"p = {binomtest(0, 9).pvalue:.3f}" in far


def test_the_metric_that_is_asked_for_decides(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained(root, tmp_path, "first", wrong(10), metrics={"test/accuracy": 0.9, "test/f1_macro": 0.5})
    trained(root, tmp_path, "second", wrong(10), metrics={"test/accuracy": 0.8, "test/f1_macro": 0.6})
    registered("first", capsys=capsys)
    assert "challenger" in registered("second", capsys=capsys)
    assert "is version 2 of 'tests', registered before: champion" in registered(
        "second", "--metric", "f1_macro", capsys=capsys
    )


@pytest.mark.parametrize("data", ["f" * 16, None])
def test_a_run_with_other_test_data_is_a_challenger_whatever_its_score(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: str | None
) -> None:
    trained(root, tmp_path, "first", wrong(10))
    trained(root, tmp_path, "second", wrong(0), data=data)
    registered("first", capsys=capsys)
    printed = registered("second", capsys=capsys)
    assert "is version 2 of 'tests': challenger" in printed
    assert f"tested on other images (data.test 0123456789abcdef, here {data or 'unknown'})" in printed
    assert aliases(open_store(root)) == {"champion": 1, "challenger": 2}


def test_a_run_that_is_registered_gets_no_second_version_and_is_decided_on_again(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(root, tmp_path, "first", wrong(10))
    second = trained(root, tmp_path, "second", wrong(20))
    registered("first", capsys=capsys)
    assert "challenger" in registered("second", capsys=capsys)
    assert "registered before: champion\nIt is the champion already" in registered("first", capsys=capsys)
    client = open_store(root)
    client.log_metric(second, "test/accuracy", 0.95, step=2)  # evaluated again
    assert "is version 2 of 'tests', registered before: champion" in registered("second", capsys=capsys)
    assert aliases(client) == {"champion": 2}
    assert len(client.search_model_versions("name = 'tests'")) == 2
    assert "challenger" in registered("first", capsys=capsys)
    assert aliases(client) == {"champion": 2, "challenger": 1}


def test_a_champion_whose_run_was_deleted_is_judged_by_what_its_version_says(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = trained(root, tmp_path, "first", wrong(10))
    trained(root, tmp_path, "second", wrong(11))
    trained(root, tmp_path, "third", wrong(9))
    registered("first", capsys=capsys)
    open_store(root).delete_run(first)
    worse, better = (registered(name, capsys=capsys) for name in ("second", "third"))
    assert "challenger" in worse
    assert "champion\n" in better
    assert "There is no paired test: the champion's run is no longer in MLflow." in worse


def test_a_champion_without_a_score_is_not_beaten(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(root, tmp_path, "by hand", wrong(0))
    client = open_store(root)
    (model,) = client.search_logged_models(["1"])
    client.create_registered_model("tests")
    client.create_model_version("tests", model.artifact_location, tags={"data.test": "0123456789abcdef"})
    client.set_registered_model_alias("tests", "champion", "1")
    assert "has no test accuracy to compare with" in registered("by hand", capsys=capsys)
    assert aliases(client) == {"champion": 1, "challenger": 2}


@pytest.mark.slow
def test_two_registrations_at_once_do_not_both_win(root: Path, tmp_path: Path) -> None:
    trained(root, tmp_path, "first", wrong(10))
    trained(root, tmp_path, "second", wrong(5))
    command = [sys.executable, "-m", "imagewright", "register"]
    processes = [
        subprocess.Popen([*command, name], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in ("first", "second")
    ]
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    client = open_store(root)
    best = aliases(client)["champion"]
    assert client.get_run(client.get_model_version("tests", str(best)).run_id).info.run_name == "second"
    assert sorted(int(version.version) for version in client.search_model_versions("name = 'tests'")) == [1, 2]
    # Whoever came later knew of the other.
    assert sum("There was no champion" in text for text in printed) == 1


# --- what is registered -----------------------------------------------------------------------------------------------


def record(root: Path, **content: object) -> None:
    (root / "models").mkdir(exist_ok=True)
    (root / "models" / "run.json").write_text(json.dumps(content))


def test_the_run_of_the_last_training_is_registered_by_default(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(root, tmp_path, "other", wrong(1))
    run_id = trained(root, tmp_path, "last", wrong(1), tags={"imagewright.key": "d" * 32})
    record(root, run_id=run_id, run_name="last")
    assert f"run 'last' ({run_id[:8]}) is version 1" in registered(capsys=capsys)
    # Begun while MLflow did not answer, and sent later.
    record(root, run_id=None, key="d" * 32, run_name="last")
    assert f"run 'last' ({run_id[:8]}) is version 1" in registered(capsys=capsys)
    record(root, run_id=None, key="e" * 32, run_name="not sent")
    assert "the run 'not sent' is not in MLflow; `imagewright sync`" in refused(capsys=capsys)
    for content in ("{", "[]", "{}"):
        (root / "models" / "run.json").write_text(content)
        assert "is no record of a run" in refused(capsys=capsys)
    (root / "models" / "run.json").unlink()
    assert "run.json: is missing; run `dvc repro` first" in refused(capsys=capsys)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"status": "FAILED"}, "must be FINISHED to be registered, it is FAILED"),
        ({"status": "RUNNING"}, "must be FINISHED to be registered, it is RUNNING"),
        ({"metrics": {"best/validation/loss": 0.1}}, "has no metric test/accuracy"),
    ],
)
def test_a_run_that_is_not_finished_or_not_tested_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: Mapping[str, object], reason: str
) -> None:
    trained(root, tmp_path, "unfit", wrong(0), **more)
    assert reason in refused("unfit", capsys=capsys)
    assert open_store(root).search_registered_models() == []


def test_a_run_without_a_model_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_run(root, "without", LABELS, LABELS)
    assert "run 'without'" in (printed := refused("without", capsys=capsys))
    assert "has no model to register" in printed
    assert open_store(root).search_registered_models() == []


@pytest.mark.parametrize("name", ["a/b", "a:b", "..", " "])
def test_a_name_that_mlflow_does_not_take_is_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    trained(root, tmp_path, "run", wrong(0))
    assert f"--name: must have a letter or digit, and neither / nor :, got {name!r}" in refused(
        "run", "--name", name, capsys=capsys
    )


def test_the_name_is_that_of_the_experiment_unless_one_is_given(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(root, tmp_path, "run", wrong(0), experiment="team/birds: 2")
    assert "version 1 of 'team_birds_ 2': champion" in registered("run", capsys=capsys)
    name = 'O\'Hara "<b>"'
    assert f"version 1 of {name!r}" in registered("run", "--name", name, capsys=capsys)


# --- models by name ---------------------------------------------------------------------------------------------------


@dataclass
class Two:
    """A project with two registered runs, the first of them the champion.

    Attributes:
        root: of the project.
        digests: first, second -> SHA-256 of the checkpoint.
        run_id: of the first.
        model_id: of the first.
    """

    root: Path
    digests: dict[str, str]
    run_id: str
    model_id: str


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Two:
    root = project_at(tmp_path_factory.mktemp("two") / "project", empty)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        patch.chdir(root)
        client = open_store(root)
        digests = {}
        ids = {}
        for number, name in enumerate(("first", "second")):
            ids[name] = trained(root, root, name, wrong(number), number)
            digests[name] = client.get_run(ids[name]).data.tags["sha256.best.ckpt"]
            register.run([name])
        (model,) = client.search_logged_models(["1"], f"source_run_id = '{ids['first']}'")
    assert len({*digests.values()}) == 2
    return Two(root, digests, ids["first"], model.model_id)


@pytest.mark.parametrize(
    ("text", "which"),
    [
        ("champion", "first"),
        ("challenger", "second"),
        ("tests", "first"),
        ("tests@champion", "first"),
        ("tests@challenger", "second"),
        ("tests/1", "first"),
        ("tests/2", "second"),
        ("models:/tests/2", "second"),
        ("models:/tests@champion", "first"),
        ("models:/tests", "first"),
        ("second", "second"),
        ("{id}", "first"),
        ("runs:/{id}/model", "first"),
        ("models:/{model}", "first"),
    ],
)
def test_a_model_is_found_by_its_run_and_by_the_names_of_the_registry(two: Two, text: str, which: str) -> None:
    path = model_of(two.root, text.format(id=two.run_id, model=two.model_id))
    assert path.name == "best.ckpt"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == two.digests[which]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("tests/3", r"tests/3: the registered model 'tests' does not have it; its aliases: challenger \(version 2\)"),
        ("tests@best", "tests@best: the registered model 'tests' does not have it"),
        ("models:/nobody", "no registered model has the name 'nobody'; registered are tests"),
        ("nobody@champion", "no run has this id or name"),
        ("secnod", r"did you mean 'second' \("),
    ],
)
def test_a_name_that_means_no_model_is_refused_with_what_there_is(two: Two, text: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        model_of(two.root, text)


def test_an_alias_alone_must_mean_one_model(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        DataError, match="champion: no registered model has this alias; `imagewright register` gives it"
    ):
        model_of(root, "champion")
    trained(root, tmp_path, "run", wrong(1))
    for name in ("a", "b"):
        registered("run", "--name", name, capsys=capsys)
    with pytest.raises(DataError, match=r"champion: means more than one registered model; give one of a@champion, b@"):
        model_of(root, "champion")


def test_a_run_without_a_checkpoint_is_refused(root: Path, tmp_path: Path) -> None:
    run_id = add_run(root, "without", LABELS, LABELS)
    with pytest.raises(DataError, match=r"run 'without' \(\w+\): has no model"):
        model_of(root, "without")
    client = open_store(root)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "MLmodel").write_text("flavors: {}")
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, "model", run_id)
    client.log_model_artifacts(model.model_id, str(tmp_path / "foreign"))
    with pytest.raises(DataError, match="has no model"):  # it is not ready
        model_of(root, "without")
    client.finalize_logged_model(model.model_id, "READY")
    with pytest.raises(DataError, match=r"the model of run 'without' \(\w+\): has no best.ckpt"):
        model_of(root, "without")


# --- a server ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("server")) as url:
        yield url


@pytest.mark.slow
def test_a_server_keeps_versions_and_models_as_the_local_store_does(
    root: Path, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    first = trained(root, tmp_path, "first", wrong(3), 1)
    trained(root, tmp_path, "second", wrong(2), 2)
    assert "champion\nThere was no champion" in registered("first", capsys=capsys)
    printed = registered("second", capsys=capsys)
    assert "is version 2 of 'tests': champion" in printed
    assert "McNemar's test on 100 images: p = 1.000" in printed
    assert aliases(open_store(root)) == {"champion": 2}
    for text, value in (("champion", 2), ("tests/1", 1), (first[:8], 1)):
        expected = checkpoint(tmp_path / "best.ckpt", value)
        assert hashlib.sha256(model_of(root, text).read_bytes()).hexdigest() == expected
    client = open_store(root)
    models = client.search_logged_models([client.get_run(first).info.experiment_id])
    assert sorted(len(json.loads(model.tags["mlflow.modelVersions"])) for model in models) == [1, 1]
    without = add_run(root, "without", LABELS, LABELS, artifacts=False)
    with pytest.raises(DataError, match=rf"run {without}: has no predictions.csv"):
        fetch(client, without, PREDICTIONS)
    assert "predictions.csv" in str(fetch(client, first, PREDICTIONS))
    assert "Downloading" not in capsys.readouterr().err
    with pytest.raises(DataError, match=r"run 'without' \(\w+\): has no model"):
        model_of(root, "without")
