"""Stage evaluate: scores the best model on the test images, with pictures and a report."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagewright.data.loader import Arrays
from imagewright.data.store import read_classes, read_split
from imagewright.errors import DataError
from imagewright.evaluation.pictures import draw_class_scores, draw_confusion_matrix, draw_curves
from imagewright.evaluation.prediction import predict
from imagewright.evaluation.report import write_report
from imagewright.metrics.scores import score
from imagewright.models.saved import SavedModel, load_model
from imagewright.stages.command import exit_with
from imagewright.stages.project import find_project
from imagewright.stages.sections import FILE, as_yaml, read_sections
from imagewright.tracking.run import TrackedRun, metric_name

_PICTURES = {
    "curves.png": "Loss and accuracy by epoch",
    "confusion_matrix.png": "Confusion matrix of the test images",
    "class_scores.png": "Scores by class",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the stage prepare")
    parser.add_argument("--models", type=Path, required=True, help="folder of the stage train")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    parser.add_argument("--metrics", type=Path, required=True, help="file of the scores that is written")
    arguments = parser.parse_args()
    config = read_sections(arguments.config)
    trained = json.loads((arguments.models / "run.json").read_text("utf-8"))
    root = find_project().root
    run = TrackedRun.resume(root, trained["run_id"]) or TrackedRun.start(
        root, config["tracking"]["experiment"], f"evaluation of {trained['run_name']}", {}
    )
    with run:
        scores = _evaluate(config, arguments.prepared, arguments.models, arguments.out, trained)
        arguments.metrics.parent.mkdir(parents=True, exist_ok=True)
        _write_json(arguments.metrics, {"images": scores["images"], **_totals(scores)})
        _log(run, scores, config, trained["best_epoch"])
        run.log_artifact(arguments.metrics)
        for path in sorted(arguments.out.iterdir()):
            run.log_artifact(path, "evaluation")
    print(f"tested {scores['images']} images: accuracy {scores['accuracy']:.2%}, F1 (macro) {scores['f1_macro']:.4f}")


def _evaluate(
    config: Mapping[str, Any], prepared: Path, models: Path, out: Path, trained: Mapping[str, Any]
) -> dict[str, Any]:
    """Score the test images and write predictions, pictures and the page into ``out``."""
    section = config["evaluate"]
    model = load_model(models / "best.ckpt")
    test = read_split(prepared / "test")
    _check_fits(model, read_classes(prepared), test)
    logits, labels = predict(model.network, test, section["batch_size"])
    scores = score(logits, labels, model.classes)
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "scores.json", scores)
    _write_predictions(out / "predictions.csv", model.classes, labels.tolist(), logits.argmax(1).tolist())
    draw_curves(
        out / "curves.png",
        _read_history(models / "history.csv"),
        monitor=trained["monitor"],
        best_epoch=trained["best_epoch"],
        stopped_early=trained["stopped_early"],
        dpi=section["dpi"],
    )
    draw_confusion_matrix(
        out / "confusion_matrix.png",
        scores["confusion_matrix"],
        model.classes,
        scores["accuracy"],
        section["dpi"],
    )
    draw_class_scores(out / "class_scores.png", scores["by_class"], section["dpi"])
    write_report(
        out / "index.html",
        title=f"Evaluation of {trained['run_name']}",
        summary=(
            f"The model of epoch {trained['best_epoch']} (best {trained['monitor']}: {trained['value']:.4f}, "
            f"validation accuracy {trained['accuracy']:.2%}) on {scores['images']} test images. "
            f"MLflow run {trained['run_id']}."
        ),
        scores=_totals(scores),
        by_class=scores["by_class"],
        pictures=_PICTURES,
        configuration=as_yaml(config),
    )
    return scores


def _check_fits(model: SavedModel, classes: list[str], test: Arrays) -> None:
    height, width, channels = test[0].shape[1:]
    if not len(test[1]):
        raise DataError("test: has no images to score; make data.split.test larger")
    if model.classes != classes or model.input_shape != (channels, height, width):
        raise DataError(
            f"the model knows {len(model.classes)} classes and images of (C, H, W) {model.input_shape}, the test "
            f"split has {len(classes)} classes and {(channels, height, width)}; run `dvc repro`"
        )


def _totals(scores: Mapping[str, Any]) -> dict[str, float]:
    """The scores that are one number, without those of single classes."""
    return {name: value for name, value in scores.items() if isinstance(value, float)}


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _read_history(path: Path) -> dict[int, dict[str, float]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        int(row["epoch"]): {name: float(value) for name, value in row.items() if name != "epoch" and value != ""}
        for row in rows
    }


def _write_predictions(path: Path, classes: list[str], labels: list[int], predictions: list[int]) -> None:
    """Names of the true and the predicted class, one line for each row of the test split."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("row", "actual", "predicted"))
        pairs = zip(labels, predictions, strict=True)
        table.writerows((row, classes[label], classes[guess]) for row, (label, guess) in enumerate(pairs))


def _log(run: TrackedRun, scores: Mapping[str, Any], config: Mapping[str, Any], epoch: int) -> None:
    metrics = {f"test/{name}": value for name, value in _totals(scores).items()}
    for number, (name, row) in enumerate(scores["by_class"].items()):
        metrics[f"test/f1_by_class/{metric_name(name, number)}"] = row["f1"]
    run.log_metrics(metrics, epoch)
    run.log_text(as_yaml(config), FILE)


if __name__ == "__main__":
    exit_with(main)
