"""`dvc repro` and what it leaves, through the commands of a user."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score

from conftest import EPOCHS, Project, hear_interrupts
from imagewright.stages.project import find_project
from imagewright.stages.sections import read_sections
from imagewright.tracking.store import open_store

pytestmark = pytest.mark.slow

STAGES = ["compose", "scan", "prepare", "normalize", "augment", "train", "evaluate"]
SPLITS = ("train", "validation", "test")
# What evaluate draws for a convolutional network.
PICTURES = (
    *("curves", "confusion_matrix", "class_scores", "mistakes", "grad_cam", "reliability", "roc", "least_sure"),
    *("batch", "kernels", "feature_maps"),
)


def store_of(project: Project) -> MlflowClient:
    # Under a lock: a pipeline may be about to make the same database.
    return open_store(project.root)


def runs_of(project: Project) -> list[Run]:
    client = store_of(project)
    return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def read_json(path: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads(path.read_text("utf-8"))
    return content


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- what lies there afterwards ---------------------------------------------------------------------------------------


def test_the_prepared_arrays_are_scikit_learns_digits_each_in_one_split(finished: Project) -> None:
    prepared = finished.root / "data" / "prepared"
    rows = read_rows(prepared / "samples.csv")
    digits = load_digits()
    assert [int(row["label"]) for row in rows] == digits.target.tolist()
    for split in SPLITS:
        images, labels = (np.load(prepared / split / f"{name}.npy") for name in ("images", "labels"))
        of_split = [index for index, row in enumerate(rows) if row["split"] == split]
        assert [int(rows[index]["row"]) for index in of_split] == list(range(len(images)))
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images[..., 0], np.rint(digits.images[of_split] * 255 / 16))
        np.testing.assert_array_equal(labels, digits.target[of_split])
    sizes = [sum(row["split"] == split for row in rows) for split in SPLITS]
    assert sizes == [1257, 270, 270]


def test_the_statistics_are_those_of_the_training_images_alone(finished: Project) -> None:
    statistics = read_json(finished.root / "data" / "normalized" / "statistics.json")
    pixels = np.load(finished.root / "data" / "prepared" / "train" / "images.npy").astype(float)
    assert statistics["mean"] == pytest.approx([pixels.mean()], abs=1e-9)
    assert statistics["std"] == pytest.approx([pixels.std()], abs=1e-9)
    assert (statistics["minimum"], statistics["maximum"]) == ([0], [255])


def test_the_scores_agree_with_scikit_learn_on_the_predictions(finished: Project) -> None:
    reports = finished.root / "reports"
    rows = read_rows(reports / "evaluation" / "predictions.csv")
    actual, predicted = [row["label"] for row in rows], [row["prediction"] for row in rows]
    metrics = read_json(reports / "metrics.json")
    assert metrics["images"] == len(rows) == 270
    assert metrics["accuracy"] == pytest.approx(accuracy_score(actual, predicted), abs=1e-6)
    for average in ("macro", "weighted"):
        for name, function in (("f1", f1_score), ("precision", precision_score), ("recall", recall_score)):
            expected = function(actual, predicted, average=average, zero_division=0)
            assert metrics[f"{name}_{average}"] == pytest.approx(expected, abs=1e-6), (name, average)
    scores = read_json(reports / "evaluation" / "scores.json")
    np.testing.assert_array_equal(scores["confusion_matrix"], confusion_matrix(actual, predicted))


def test_each_score_stands_beside_an_interval_that_holds_it(finished: Project) -> None:
    scores = read_json(finished.root / "reports" / "evaluation" / "scores.json")
    intervals: dict[str, list[float]] = scores["intervals"]  # type: ignore[assignment]
    assert {"accuracy", "f1_macro", "loss", "brier", "cohen_kappa"} <= set(intervals)
    for name in set(intervals) - {"calibration_error"}:  # which is larger in resamples than in the images themselves
        low, high = intervals[name]
        assert low <= scores[name] <= high, name  # type: ignore[operator]
    assert intervals["accuracy"][0] < intervals["accuracy"][1]
    (run,) = runs_of(finished)
    assert [run.data.metrics[f"test/accuracy_{end}"] for end in ("low", "high")] == intervals["accuracy"]


def test_the_record_beside_the_files_says_whose_they_are(finished: Project) -> None:
    (run,) = runs_of(finished)
    for folder in ("models", "reports/evaluation"):
        record = read_json(finished.root / folder / "run.json")
        assert record["run_id"] == run.info.run_id
        assert record["key"] == run.data.tags["imagewright.key"]
        files: dict[str, str] = record["files"]  # type: ignore[assignment]
        assert len(files) >= 5
        for name, digest in files.items():
            content = (finished.root / folder / name).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest, name
    assert read_json(finished.root / "models" / "run.json")["data"]["test"] == run.data.tags["data.test"]  # type: ignore[index]


def test_the_predictions_are_those_of_the_saved_weights(finished: Project) -> None:
    """Rebuilt from the checkpoint with plain torch layers: the file carries all that a prediction needs."""
    saved = torch.load(finished.root / "models" / "best.ckpt", weights_only=True)
    state, made = saved["state_dict"], saved["hyper_parameters"]
    assert made["classes"] == [str(digit) for digit in range(10)]
    assert made["input_shape"] == [1, 8, 8]
    images = torch.from_numpy(np.load(finished.root / "data" / "prepared" / "test" / "images.npy"))
    maps = (images.permute(0, 3, 1, 2).float() - made["shift"][0]) / made["scale"][0]
    for block in range(3):
        at = f"network.1.blocks.{block}"
        maps = torch.nn.functional.conv2d(maps, state[f"{at}.0.weight"], padding=1)
        maps = torch.nn.functional.max_pool2d(maps, 2)
        norm = [state[f"{at}.2.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
        maps = torch.nn.functional.batch_norm(maps, *norm).relu()
    logits = maps.flatten(1) @ state["network.1.classifier.1.weight"].T + state["network.1.classifier.1.bias"]
    rows = read_rows(finished.root / "reports" / "evaluation" / "predictions.csv")
    assert logits.argmax(1).tolist() == [int(row["prediction"]) for row in rows]
    probabilities = [[float(row[f"p({digit})"]) for digit in range(10)] for row in rows]
    np.testing.assert_allclose(probabilities, logits.double().softmax(1).numpy(), rtol=0, atol=1e-6)
    samples = read_rows(finished.root / "data" / "prepared" / "samples.csv")
    assert [row["path"] for row in rows] == [row["path"] for row in samples if row["split"] == "test"]


def test_the_pictures_and_the_page_are_there(finished: Project) -> None:
    reports = finished.root / "reports"
    for name in ("augmentation.png", *(f"evaluation/{name}.png" for name in PICTURES)):
        with Image.open(reports / name) as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("L").getcolors(256) or []) > 10  # something is drawn
    page = (reports / "index.html").read_text("utf-8")
    assert (
        page.count('src="data:image/png;base64,') == len(PICTURES) + 2
    )  # and those of the data and of the augmentation
    assert 'src="' not in page.replace('src="data:image/png', "")
    assert "seed: 1" in page
    assert metric_in(page, "accuracy") == f"{read_json(reports / 'metrics.json')['accuracy']:.4f}"


def metric_in(page: str, words: str) -> str:
    """The number beside these words in the table of scores."""
    found = re.search(rf"<tr><td>{re.escape(words)}</td><td>([^<]*)</td>", page)
    assert found
    return found[1]


def test_the_run_in_mlflow_is_complete(finished: Project) -> None:
    (run,) = runs_of(finished)
    client = store_of(finished)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "cnn adamw one_cycle seed=1"
    assert run.data.params["model.channels"] == "[32, 64, 128]"
    assert run.data.params["augment.transforms.rotate.limit"] == "10.0"
    assert run.data.params["trainer.max_epochs"] == str(EPOCHS)
    history = read_rows(finished.root / "models" / "history.csv")
    for split in ("train", "validation"):
        for name in ("loss", "accuracy"):
            logged = client.get_metric_history(run.info.run_id, f"{split}/{name}")
            assert [metric.step for metric in logged] == [int(row["epoch"]) for row in history] == [1, 2]
            assert [metric.value for metric in logged] == [float(row[f"{split}/{name}"]) for row in history]
    metrics = read_json(finished.root / "reports" / "metrics.json")
    for name in ("accuracy", "f1_macro", "f1_weighted", "precision_macro", "recall_macro", "loss"):
        assert run.data.metrics[f"test/{name}"] == metrics[name]
    assert all(f"test/f1_by_class/{digit}" in run.data.metrics for digit in range(10))
    artifacts = {
        file.path for folder in (None, "evaluation") for file in client.list_artifacts(run.info.run_id, folder)
    }
    assert {"config.yaml", "metrics.json", "index.html", "evaluation/scores.json"} <= artifacts
    assert {"evaluation/predictions.csv", "evaluation/suspected_labels.csv"} <= artifacts
    pictures = {file.path.split("+")[0] for file in client.list_artifacts(run.info.run_id, "images")}
    assert {f"images/{name}" for name in PICTURES} - pictures == set()
    local = client.download_artifacts(run.info.run_id, "config.yaml")
    assert read_sections(Path(local)) == read_sections(finished.root / "config.yaml")
    commit = finished.run("git", "rev-parse", "HEAD").strip()
    assert run.data.tags["mlflow.source.git.commit"] == commit
    assert run.data.tags["git.dirty"] == "false"
    assert run.data.tags["mlflow.source.name"] == "dvc repro"
    assert len({run.data.tags[f"data.{split}"] for split in SPLITS}) == 3
    inputs = {given.tags[0].value: given.dataset for given in run.inputs.dataset_inputs}
    assert {split: dataset.digest for split, dataset in inputs.items()} == {
        split: run.data.tags[f"data.{split}"] for split in SPLITS
    }
    assert json.loads(inputs["test"].profile)["features_shape"] == [270, 8, 8, 1]
    (output,) = run.outputs.model_outputs
    assert output.step == read_json(finished.root / "models" / "run.json")["best_epoch"]
    assert "Test accuracy" in run.data.tags["mlflow.note.content"]
    assert "system/cpu_utilization_percentage" in run.data.metrics


def test_summary_ends_with_the_scores_and_where_the_results_are(finished: Project) -> None:
    printed = finished.run("imagewright", "summary")
    accuracy = read_json(finished.root / "reports" / "metrics.json")["accuracy"]
    assert f"{accuracy:.4f}" in next(line for line in printed.splitlines() if line.startswith("accuracy"))
    (run,) = runs_of(finished)
    assert f"({run.info.run_id})" in next(line for line in printed.splitlines() if line.startswith("made by "))
    for place in ("report ", "pictures ", "MLflow UI"):
        assert sum(line.startswith(place) for line in printed.splitlines()) == 1


def test_dvc_draws_the_plots_and_shows_the_metrics(ready: Project) -> None:
    ready.run("dvc", "plots", "show")
    page = (ready.root / "dvc_plots" / "index.html").read_text("utf-8")
    titles = ("Loss by epoch", "Accuracy by epoch", "Confusion matrix of the test images", "F1 by class")
    for title in (*titles, "Reliability", "ROC curves, one class against the rest"):
        assert title in page
    assert "f1_macro" in ready.run("dvc", "metrics", "show")


# --- only what a change touches ---------------------------------------------------------------------------------------


def test_a_second_repro_looks_at_the_source_and_runs_nothing_else(ready: Project) -> None:
    assert ready.repro() == ["scan"]


def test_a_changed_value_of_the_network_reruns_compose_train_and_evaluate(ready: Project) -> None:
    ready.edit("conf/model/cnn.yaml", "dropout: 0.3", "dropout: 0.2")
    assert ready.repro() == ["compose", "scan", "train", "evaluate"]
    assert ready.repro() == ["scan"]


def test_a_changed_option_that_is_not_chosen_reruns_compose_only(ready: Project) -> None:
    ready.edit("conf/model/mlp.yaml", "dropout: 0.2", "dropout: 0.1")
    assert ready.repro() == ["compose", "scan"]


def test_a_changed_resolution_of_the_pictures_reruns_evaluate_into_the_same_run(ready: Project) -> None:
    ready.choose(override={"trainer.label_smoothing": 0.1})
    ready.repro()
    before = (ready.root / "reports" / "evaluation" / "curves.png").read_bytes()
    ready.choose(override={"evaluate.dpi": 60})
    assert ready.repro() == ["compose", "scan", "evaluate"]
    (run,) = runs_of(ready)
    assert run.info.status == "FINISHED"
    assert (ready.root / "reports" / "evaluation" / "curves.png").read_bytes() != before
    pictures = [file.path for file in store_of(ready).list_artifacts(run.info.run_id, "images")]
    keys = [path.split("+")[0] for path in pictures if path.endswith(".png")]
    assert sorted(keys) == sorted(set(keys))  # those of the first evaluation gave way


def test_another_normalization_reruns_normalize_and_what_follows(ready: Project) -> None:
    ready.choose(normalize="minmax")
    assert ready.repro() == ["compose", "scan", "normalize", "train", "evaluate"]
    saved = torch.load(ready.root / "models" / "best.ckpt", weights_only=True)
    assert (saved["hyper_parameters"]["shift"], saved["hyper_parameters"]["scale"]) == ([0.0], [255.0])


def test_an_experiment_of_dvc_changes_a_choice_or_a_value(ready: Project) -> None:
    ready.run("dvc", "exp", "run", "--set-param", "model=mlp")
    config = read_sections(ready.root / "config.yaml")
    assert config["model"]["_target_"].endswith("MLP")
    ready.run("dvc", "exp", "run", "--set-param", "model=cnn", "--set-param", "+override.model.dropout=0.5")
    config = read_sections(ready.root / "config.yaml")
    assert config["model"]["_target_"].endswith("CNN")
    assert config["model"]["dropout"] == 0.5
    saved = torch.load(ready.root / "models" / "best.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["network"]["dropout"] == 0.5


def test_an_experiment_in_a_temporary_folder_logs_to_the_project(ready: Project) -> None:
    ready.run("git", "add", "--all")
    ready.run("git", "commit", "--quiet", "--message=results")
    ready.run("dvc", "exp", "run", "--temp", "--set-param", "model=mlp")
    (run,) = runs_of(ready)
    assert run.info.status == "FINISHED"
    assert "mlp" in run.info.run_name
    assert "test/accuracy" in run.data.metrics


# --- the same again ---------------------------------------------------------------------------------------------------


def test_the_same_commit_gives_the_same_bytes(finished: Project, ready: Project) -> None:
    assert ready.repro("--force") == STAGES
    for folder in ("data/prepared", "data/normalized", "data/augmented"):
        assert contents(ready.root / folder) == contents(finished.root / folder)
    for name in ("models/best.ckpt", "models/history.csv", "reports/metrics.json", "config.yaml"):
        assert (ready.root / name).read_bytes() == (finished.root / name).read_bytes(), name


def test_train_by_hand_gives_what_repro_gave(finished: Project, ready: Project) -> None:
    ready.run("imagewright", "train")
    (folder,) = (ready.root / "runs").iterdir()
    assert (folder / "best.ckpt").read_bytes() == (finished.root / "models" / "best.ckpt").read_bytes()
    assert read_sections(folder / "config.yaml") == read_sections(finished.root / "config.yaml")


# --- when something goes wrong ----------------------------------------------------------------------------------------


@contextmanager
def long_training(project: Project) -> Iterator[psutil.Process]:
    """A ``dvc repro`` whose training goes on for hours: the process of its train stage, once its run has begun."""
    project.choose(override={"trainer.max_epochs": 100_000, "callbacks.early_stopping": None})
    with subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
        preexec_fn=hear_interrupts,
    ) as repro:
        try:
            yield wait_for_training(repro.pid, project)
            repro.wait(timeout=60)
        finally:
            for process in processes_below(repro.pid):
                process.kill()
            repro.kill()
        assert repro.returncode != 0


def wait_for_training(parent: int, project: Project) -> psutil.Process:
    """The process of the train stage, once its run has begun."""
    for _ in range(600):
        begun = (project.root / "models" / "last.ckpt").exists()
        for process in processes_below(parent) if begun else []:
            with suppress(psutil.NoSuchProcess):  # processes of git come and go
                if process.cmdline()[1:3] == ["-m", "imagewright.stages.train"]:
                    return process
        time.sleep(0.1)
    raise AssertionError("the training did not begin within a minute")


def processes_below(parent: int) -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process(parent).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return children


def wait_for_status(project: Project, status: str) -> Run:
    """The only run, once it has that status."""
    for _ in range(600):
        runs = runs_of(project)
        if [run.info.status for run in runs] == [status]:
            return runs[0]
        time.sleep(0.1)
    raise AssertionError(f"no run is {status} within a minute: {[run.info.status for run in runs]}")


def test_a_killed_training_is_closed_and_the_next_one_succeeds(ready: Project) -> None:
    with long_training(ready) as training:
        running = wait_for_status(ready, "RUNNING")
        training.kill()
    killed = wait_for_status(ready, "KILLED")
    assert killed.info.run_id == running.info.run_id
    assert "process ended" in killed.data.tags["imagewright.failure"]
    ready.choose(override={"trainer.max_epochs": 1})
    assert ready.repro() == ["compose", "scan", "train", "evaluate"]
    assert sorted(run.info.status for run in runs_of(ready)) == ["FINISHED", "KILLED"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_training_that_is_told_to_end_is_no_result(ready: Project, number: signal.Signals) -> None:
    with long_training(ready) as training:
        training.send_signal(number)  # `dvc repro` then fails, as `long_training` sees
    (run,) = runs_of(ready)
    assert run.info.status == "KILLED"
    assert not (ready.root / "models" / "run.json").exists()
    assert "models" in ready.run("dvc", "status", "train")


@pytest.mark.parametrize(
    ("number", "status", "words"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_training_by_hand_ends_as_a_shell_expects_it(
    ready: Project, number: signal.Signals, status: int, words: str
) -> None:
    command = ["imagewright", "train", "trainer.max_epochs=100000", "callbacks=no_early_stopping"]
    with subprocess.Popen(
        command,
        cwd=ready.root,
        env=ready.environment(),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=hear_interrupts,
    ) as training:
        assert training.stderr is not None
        for line in training.stderr:
            if line.startswith("epoch"):
                break
        training.send_signal(number)
        _, said = training.communicate(timeout=60)
    assert training.returncode == status
    assert said.splitlines()[-1] == words


def test_a_training_that_diverges_says_so_and_its_run_failed(ready: Project) -> None:
    ready.choose(optimizer="sgd", scheduler="none", override={"optimizer.lr": 1e30})
    printed = ready.run("dvc", "repro", status=255)
    assert "error: validation/loss: is not a finite number" in printed
    assert "Traceback" not in printed
    (run,) = runs_of(ready)
    assert run.info.status == "FAILED"
    assert "optimizer.lr" in run.data.tags["imagewright.failure"]


def test_a_broken_checkpoint_is_refused_by_evaluate(ready: Project) -> None:
    (ready.root / "models" / "best.ckpt").write_bytes(b"nothing")
    project = find_project(ready.root)
    printed = ready.run(
        *("python", "-m", "imagewright.stages.evaluate", "--config", "config.yaml", "--prepared", "data/prepared"),
        *("--models", "models", "--inspected", "reports/data", "--preview", "reports/augmentation.png"),
        *("--out", "out", "--metrics", str(project.root / "out.json"), "--page", str(project.root / "out.html")),
        status=2,
    )
    assert "best.ckpt: is no checkpoint" in printed
    assert "Traceback" not in printed


def test_outside_a_project_the_command_says_so(tmp_path: Path) -> None:
    printed = Project(tmp_path).run("imagewright", "summary", status=2)
    assert printed.startswith("error: ")
    assert "not inside an imagewright project" in printed


def test_what_comes_back_from_dvcs_cache_is_named_by_the_run_that_made_it(ready: Project) -> None:
    first = read_json(ready.root / "reports" / "evaluation" / "run.json")
    ready.choose(model="mlp")
    ready.repro()
    (other,) = runs_of(ready)
    assert other.info.run_id in ready.run("imagewright", "summary")
    ready.choose(model="cnn")
    assert ready.repro() == ["compose", "scan"]  # train and evaluate come from the cache
    assert str(first["run_id"]) in ready.run("imagewright", "summary")
    assert len(runs_of(ready)) == 1
