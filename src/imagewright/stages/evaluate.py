"""Stage evaluate: scores the best model on the test images, with pictures and a report."""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imagewright.data.store import read_classes, read_rows, read_split
from imagewright.errors import DataError
from imagewright.evaluation.report import write_report
from imagewright.stages.command import exit_with
from imagewright.stages.datasets import describe_data
from imagewright.stages.project import find_project
from imagewright.stages.sections import FILE, as_yaml, read_sections
from imagewright.stages.times import read_times, seconds_so_far
from imagewright.tracking.provenance import DatasetUse, digest_of, record
from imagewright.tracking.run import ONCE, TrackedRun, metric_name

# The stages that come before this one.
STAGES = ("compose", "scan", "prepare", "normalize", "augment", "train")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the stage prepare")
    parser.add_argument("--models", type=Path, required=True, help="folder of the stage train")
    parser.add_argument("--inspected", type=Path, required=True, help="report of the data by the stage prepare")
    parser.add_argument("--preview", type=Path, required=True, help="picture of the stage augment")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    parser.add_argument("--metrics", type=Path, required=True, help="file of the scores that is written")
    parser.add_argument("--page", type=Path, required=True, help="report that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config)
    trained = _read_trained(arguments.models / "run.json")
    datasets = describe_data(arguments.prepared)
    (test_data,) = [dataset for dataset in datasets if dataset.context == "test"]
    run = TrackedRun.resume(
        find_project().root,
        trained["key"],
        trained["run_id"],
        experiment=config["tracking"]["experiment"],
        name=f"evaluation of {trained['run_name']}",
        tags={"data.test": test_data.digest},
    )
    with run:
        run.log_inputs([test_data])
        scores = _evaluate(run, config, arguments, trained, datasets)
        _log(run, scores, config, trained)
        for path in (arguments.metrics, arguments.page):
            run.log_artifact(path)
        for path in sorted([*arguments.out.glob("*.csv"), arguments.out / "scores.json"]):
            run.log_artifact(path, "evaluation")
        run.log_image(arguments.preview, "augmentation", ONCE)
    _write_record(arguments, run, trained, as_yaml(config))
    print(f"tested {scores['images']} images: accuracy {scores['accuracy']:.2%}, F1 (macro) {scores['f1_macro']:.4f}")


def _read_trained(path: Path) -> dict[str, Any]:
    try:
        trained: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path}: is missing, the training did not come to its end; run `dvc repro --force train`, then `dvc repro`"
        ) from error
    return trained


def _evaluate(
    run: TrackedRun,
    config: Mapping[str, Any],
    paths: argparse.Namespace,
    trained: Mapping[str, Any],
    datasets: Sequence[DatasetUse],
) -> dict[str, Any]:
    """Score the test images, and write tables, pictures and the page."""
    # torch takes seconds to import, in which the process that sends to MLflow begins.
    from imagewright.evaluation.assessment import Images, Training, assess
    from imagewright.models.saved import load_model

    out, rows = paths.out, read_rows(paths.prepared)
    test, validation = (
        Images(read_split(paths.prepared / split), [row.path for row in rows.get(split, [])])
        for split in ("test", "validation")
    )
    with np.load(paths.models / "batch.npz", allow_pickle=False) as batch:
        training = Training(
            history=_read_history(paths.models / "history.csv"),
            monitor=trained["monitor"],
            best_epoch=trained["best_epoch"],
            stopped_early=trained["stopped_early"],
            images=batch["images"],
            labels=batch["labels"],
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    pictures: dict[str, Path] = {}

    def keep(name: str, path: Path) -> None:
        pictures[name] = path
        run.log_image(path, name, ONCE)

    scores, suspects = assess(
        out,
        load_model(paths.models / "best.ckpt"),
        read_classes(paths.prepared),
        test,
        validation,
        training,
        config["evaluate"],
        keep,
    )
    _write_json(out / "scores.json", scores)
    _write_json(paths.metrics, {"images": scores["images"], **_totals(scores)})
    write_report(
        paths.page,
        title=f"Evaluation of {trained['run_name']}",
        sentence=(
            f"The model of epoch {trained['best_epoch']} of {trained['epochs']} (best {trained['monitor']}: "
            f"{trained['value']:.4f}, validation accuracy {trained['accuracy']:.2%}) on {scores['images']:,} test "
            f"images."
        ),
        warnings=_warnings(trained),
        scores=scores,
        suspects=suspects,
        pictures={**pictures, **_foreign(paths)},
        data=_describe_data(paths.inspected, datasets),
        made=_made(trained),
        command=_again(trained),
        times=_times(find_project().paths["times"]),
        configuration=as_yaml(config),
    )
    return scores


def _write_record(paths: argparse.Namespace, run: TrackedRun, trained: Mapping[str, Any], configuration: str) -> None:
    """Say beside the reports which run they belong to, and what it was made from."""
    files = {str(path.relative_to(paths.out)): digest_of(path) for path in sorted(paths.out.iterdir())}
    files |= {f"../{path.name}": digest_of(path) for path in (paths.metrics, paths.page)}
    known = record(
        key=run.key,
        run_id=run.run_id,
        run_name=trained["run_name"],
        tags={},
        configuration=configuration,
        files=files,
    )
    same = {name: trained[name] for name in ("command", "commit", "dirty", "data")}
    _write_json(paths.out / "run.json", {**known, **same})


def _totals(scores: Mapping[str, Any]) -> dict[str, float]:
    """The scores that are one number, without those of single classes."""
    return {name: value for name, value in scores.items() if isinstance(value, float) and name != "confidence"}


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_history(path: Path) -> dict[int, dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        int(row["epoch"]): {name: float(value) for name, value in row.items() if name != "epoch" and value != ""}
        for row in rows
    }


# --- the page ---------------------------------------------------------------------------------------------------------


def _foreign(paths: argparse.Namespace) -> dict[str, Path]:
    """Pictures that earlier stages drew."""
    pictures = {"counts": paths.inspected / "counts.png", "augmentation": paths.preview}
    return {key: path for key, path in pictures.items() if path.is_file()}


def _warnings(trained: Mapping[str, Any]) -> list[str]:
    if not trained["dirty"]:
        return []
    sentence = (
        "Files differed from the commit when the model was trained: the commit alone does not make it again. How they "
        "differed is the artifact changes.patch of the MLflow run."
    )
    return [sentence]


def _describe_data(inspected: Path, datasets: Sequence[DatasetUse]) -> dict[str, Any]:
    summary = json.loads((inspected / "summary.json").read_text("utf-8"))
    images, stored = summary["images"], summary["stored"]
    classes = len(summary["classes"])
    duplicates = summary["duplicates"]
    return {
        "sentence": (
            f"{datasets[0].name}: {images['used']:,} of {images['listed']:,} images in {classes} classes, stored as "
            f"{stored['width']} by {stored['height']} pixels with {stored['channels']} "
            f"{'channel' if stored['channels'] == 1 else 'channels'}; {images['refused']:,} refused, "
            f"{images['left_out']:,} left out, {duplicates['exact']['groups']:,} groups of equal images, "
            f"{duplicates['near']['groups']:,} of images that look the same. All of it: reports/data/index.html."
        ),
        "splits": [
            {"name": dataset.context, "images": dataset.shape[0], "digest": dataset.digest} for dataset in datasets
        ],
        "remarks": [*summary["warnings"], *summary["remarks"]],
    }


def _made(trained: Mapping[str, Any]) -> dict[str, str]:
    run = trained["run_id"] or f"not sent yet, key {trained['key']}"
    commit = trained["commit"] or "none: the project is not in git"
    return {
        "MLflow run": f"{trained['run_name']} ({run})",
        "trained": str(trained["when"]),
        "command": str(trained["command"]),
        "commit": f"{commit}{', with changes' if trained['dirty'] else ''}",
        "configuration, SHA-256": str(trained["config_sha256"]),
        "model, SHA-256": str(trained["files"]["best.ckpt"]),
    }


def _again(trained: Mapping[str, Any]) -> str:
    """The command that makes the model again."""
    steps = [f"git checkout {trained['commit']}"] if trained["commit"] else []
    if trained["dirty"]:
        steps.append(
            "git apply changes.patch  # an artifact of the MLflow run; files that git does not know are not in it"
        )
    return "\n".join([*steps, trained["command"]])


def _times(path: Path) -> list[dict[str, str]]:
    """Stage, seconds, when; this stage is not at its end."""
    times = read_times(path)
    rows = [
        {
            "stage": stage,
            "seconds": f"{times[stage]['seconds']:.1f}",
            "when": times[stage]["when"][:16].replace("T", " "),
        }
        for stage in STAGES
        if stage in times
    ]
    return [*rows, {"stage": "evaluate", "seconds": f"{seconds_so_far():.1f}", "when": "now, to this page"}]


def _log(
    run: TrackedRun,
    scores: Mapping[str, Any],
    config: Mapping[str, Any],
    trained: Mapping[str, Any],
) -> None:
    epoch = trained["best_epoch"]
    times = read_times(find_project().paths["times"])
    metrics = {f"time/{stage}_seconds": times[stage]["seconds"] for stage in STAGES if stage in times}
    metrics |= {f"test/{name}": value for name, value in _totals(scores).items()}
    for name, (low, high) in scores["intervals"].items():
        metrics |= {f"test/{name}_low": low, f"test/{name}_high": high}
    for number, (name, row) in enumerate(scores["by_class"].items()):
        metrics[f"test/f1_by_class/{metric_name(name, number)}"] = row["f1"]
    run.log_metrics(metrics, ONCE)
    run.log_text(as_yaml(config), FILE)
    low, high = scores["intervals"]["accuracy"]
    run.describe(
        f"Test accuracy **{scores['accuracy']:.2%}** ({low:.2%} to {high:.2%}), F1 (macro) "
        f"**{scores['f1_macro']:.4f}** on {scores['images']} images. Best epoch {epoch} of {trained['epochs']}, "
        f"validation accuracy {trained['accuracy']:.2%}. Made by `{trained['command']}`; the report is the "
        f"artifact `index.html`."
    )


if __name__ == "__main__":
    exit_with(main, stage="evaluate")
