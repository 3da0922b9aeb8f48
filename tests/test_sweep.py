"""`imagewright train -m`: sweeps on one machine."""

from __future__ import annotations

import json
from itertools import product

import pytest
from mlflow.entities import Run

from conftest import Project
from test_pipeline import runs_of, store_of

pytestmark = pytest.mark.slow

SWEEP = ["model=cnn,mlp", "model.dropout=0,0.3", "seed=1,2"]
JOBS = [
    f"model={model} model.dropout={dropout} seed={seed}"
    for model, dropout, seed in product(("cnn", "mlp"), ("0", "0.3"), (1, 2))
]


def parent_and_children(project: Project) -> tuple[Run, list[Run]]:
    runs = runs_of(project)
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(children) == len(runs) - 1
    return parent, children


def table_of(printed: str) -> list[list[str]]:
    """Rows of the table at the end, as lists of words."""
    lines = printed[printed.index("  job  overrides") : printed.index("jobs and models: ")].splitlines()
    return [line.split() for line in lines[2:] if line.strip() and line.split()[0].isdigit()]


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]])
def test_a_sweep_logs_a_parent_with_a_child_for_each_job_and_loses_no_metric(
    ready: Project, launcher: list[str]
) -> None:
    printed = ready.run("imagewright", "train", "-m", *SWEEP, *launcher)
    parent, children = parent_and_children(ready)
    assert parent.info.status == "FINISHED"
    assert sorted(child.info.run_name for child in children) == sorted(JOBS)
    client = store_of(ready)
    for child in children:
        assert child.info.status == "FINISHED"
        for name in ("train/loss", "train/accuracy", "validation/loss", "validation/accuracy"):
            assert [metric.step for metric in client.get_metric_history(child.info.run_id, name)] == [1, 2]
    rows = table_of(printed)
    assert sorted(" ".join(row[1:4]) for row in rows) == sorted(JOBS)
    values = [float(row[4]) for row in rows]
    assert values == sorted(values)
    best = min(children, key=lambda child: child.data.metrics["best/validation/loss"])
    assert parent.data.tags["imagewright.best_run"] == best.info.run_id
    assert " ".join(rows[0][1:4]) == best.info.run_name
    assert "failed" not in printed


def test_a_sweep_with_failed_jobs_finishes_the_others_and_ends_with_status_1_and_the_list(ready: Project) -> None:
    printed = ready.run("imagewright", "train", "-m", "model=mlp", "augment.copies=2,3", "model.dropout=0,2", status=1)
    parent, children = parent_and_children(ready)
    assert [child.info.run_name for child in children] == ["model=mlp augment.copies=2 model.dropout=0"]
    assert children[0].info.status == "FINISHED"
    assert parent.info.status == "FAILED"
    assert "3 of 4 jobs failed" in parent.data.tags["imagewright.failure"]
    end = printed[printed.index("3 of 4 jobs failed") :]
    assert "#1 model=mlp augment.copies=2 model.dropout=2: model.dropout: must be 0 or more and below 1" in end
    assert "#2 model=mlp augment.copies=3 model.dropout=0: augment.copies: this training asks for 3" in end
    assert "Traceback" not in printed
    assert len(table_of(printed)) == 4


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ("data.split.test=0.2", "data.split.test"),
        ("normalize=minmax", "normalize.scheme"),
        ("augment=none", "augment.copies"),
    ],
)
def test_a_training_on_other_data_than_those_on_disk_is_refused(ready: Project, given: str, key: str) -> None:
    printed = ready.run("imagewright", "train", given, status=2)
    assert f"error: {key}: this training asks for" in printed
    assert "run `dvc repro` first" in printed
    assert runs_of_or_none(ready) == []


def runs_of_or_none(project: Project) -> list[Run]:
    return runs_of(project) if (project.root / "mlruns").exists() else []


def test_a_sweep_that_cannot_be_composed_leaves_no_run(ready: Project) -> None:
    ready.run("imagewright", "train", "-m", "model=cnn,cmn", status=2)
    assert runs_of_or_none(ready) == []


def test_each_job_keeps_its_model_and_its_configuration(ready: Project) -> None:
    ready.run("imagewright", "train", "-m", "model=mlp", "seed=3,4")
    (folder,) = (ready.root / "runs").iterdir()
    for job, seed in (("0", 3), ("1", 4)):
        assert f"seed: {seed}" in (folder / job / "config.yaml").read_text("utf-8")
        assert (folder / job / "best.ckpt").stat().st_size > 0
        assert json.loads((folder / job / "result.json").read_text("utf-8"))["overrides"] == f"model=mlp seed={seed}"


def test_a_value_of_params_that_was_meant_for_another_option_is_left_out_and_said(ready: Project) -> None:
    ready.choose(override={"model.kernel_size": 5})
    printed = ready.run("imagewright", "train", "model=mlp")
    assert "note: params.yaml's override of model.kernel_size (5) is left out" in printed
