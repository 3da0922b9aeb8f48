"""Runs in a real MLflow store, as the pipeline leaves them, without a training."""

from __future__ import annotations

import csv
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from mlflow.entities import LoggedModelOutput
from sklearn.metrics import accuracy_score, f1_score

from imagewright.stages.command import exit_with
from imagewright.tracking.store import experiment_id, open_store

__all__ = ["DIGEST", "add_model", "add_run", "checkpoint", "ended", "make_project", "write_predictions"]

DIGEST = "0123456789abcdef"


def make_project(root: Path) -> Path:
    """The files by which a folder is a project of imagewright."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "params.yaml").write_text("{}\n")
    (root / "dvc.yaml").write_text("vars:\n  - paths:\n      models: models\n      reports: reports\n")
    return root


def ended(command: Callable[[], int | None]) -> int:
    """Exit status of a command."""
    with pytest.raises(SystemExit) as end:
        exit_with(command)
    return int(end.value.code or 0)


def add_run(
    root: Path,
    name: str,
    labels: Sequence[str],
    predicted: Sequence[str],
    *,
    classes: Sequence[str] = (),
    paths: Sequence[str] = (),
    data: str | None = DIGEST,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    metrics: Mapping[str, float] | None = None,
    experiment: str = "tests",
    status: str = "FINISHED",
    artifacts: bool = True,
    at: int | None = None,
) -> str:
    """A run that was evaluated on images; its id."""
    client = open_store(root)
    classes = classes or sorted({*labels, *predicted})
    scores = {
        "images": len(labels),
        "accuracy": float(accuracy_score(labels, predicted)),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "loss": 0.25,
        "cohen_kappa": None,
    }
    all_tags = {**({} if data is None else {"data.test": data}), **(tags or {})}
    run_id = str(client.create_run(experiment_id(client, root, experiment), at, all_tags, name).info.run_id)
    for key, value in (params or {}).items():
        client.log_param(run_id, key, value)
    logged = metrics or {f"test/{name}": value for name, value in scores.items() if isinstance(value, float)}
    for key, value in logged.items():
        client.log_metric(run_id, key, value, step=1)
    if artifacts:
        intervals = {name: [value - 0.01, value + 0.01] for name, value in scores.items() if isinstance(value, float)}
        client.log_dict(run_id, {**scores, "intervals": intervals, "confidence": 0.95}, "evaluation/scores.json")
        with tempfile.TemporaryDirectory() as folder:
            write_predictions(Path(folder) / "predictions.csv", classes, labels, predicted, paths)
            client.log_artifact(run_id, str(Path(folder) / "predictions.csv"), "evaluation")
    if status != "RUNNING":
        client.set_terminated(run_id, status)
    return run_id


def write_predictions(
    path: Path, classes: Sequence[str], labels: Sequence[str], predicted: Sequence[str], paths: Sequence[str]
) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("path", "label", "prediction", "confidence", *(f"p({name})" for name in classes)))
        for row, (label, guess) in enumerate(zip(labels, predicted, strict=True)):
            shares = [f"{0.9 if name == guess else 0.1 / max(len(classes) - 1, 1):.9g}" for name in classes]
            table.writerow((paths[row] if paths else f"images/{row}.png", label, guess, "0.9", *shares))


def checkpoint(path: Path, value: float = 0.0) -> str:
    """A small file of tensors; its SHA-256."""
    torch.save({"state_dict": {"weight": torch.full((2, 2), value)}}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def add_model(root: Path, run_id: str, folder: Path, value: float = 0.0) -> str:
    """Log a model for a run, as the pipeline does; SHA-256 of its checkpoint."""
    client = open_store(root)
    packed = folder / f"packed-{run_id}"
    (packed / "artifacts").mkdir(parents=True)
    (packed / "MLmodel").write_text("flavors: {}\n")
    digest = checkpoint(packed / "artifacts" / "best.ckpt", value)
    model = client.create_logged_model(client.get_run(run_id).info.experiment_id, "model", run_id)
    client.log_model_artifacts(model.model_id, str(packed))
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 1)])
    client.set_tag(run_id, "sha256.best.ckpt", digest)
    return digest
