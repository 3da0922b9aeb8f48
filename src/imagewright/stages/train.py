"""Stage train: fits the network, keeps its best epoch, and logs to MLflow."""

from __future__ import annotations

import argparse
import csv
import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from imagewright.config.choices import flat
from imagewright.data.store import read_classes, read_split
from imagewright.errors import ConfigError, DataError
from imagewright.stages.command import exit_with
from imagewright.stages.datasets import describe_data
from imagewright.stages.project import Project, find_project
from imagewright.stages.sections import FILE, as_yaml, read_sections
from imagewright.tracking.provenance import code_changes, code_tags, command_tags, digest_of, record
from imagewright.tracking.run import ONCE, TrackedRun

if TYPE_CHECKING:
    from imagewright.training.fitting import TrainingData

__all__ = ["Inputs", "Trained", "describe_command", "train"]

PATCH = "changes.patch"
# What is written beside run.json, which says whose it is.
_FILES = ("batch.npz", "best.ckpt", "example.png", "history.csv", "last.ckpt")
_BATCH = 64  # images of the first batch that are kept


@dataclass(frozen=True)
class Inputs:
    """Folders of the stages before."""

    prepared: Path
    normalized: Path
    augmented: Path


@dataclass(frozen=True)
class Trained:
    """What a training says of itself; evaluate and the table of a sweep read it from ``run.json``.

    Attributes:
        key: of the run, before it has an id.
        run_id: of the MLflow run; None if it could not be sent.
        run_name: of the MLflow run.
        monitor: the metric that chose the best epoch.
        mode: min or max, whichever is better.
        value: the metric in the best epoch.
        accuracy: of the validation images in the best epoch.
        best_epoch: counted from 1.
        epochs: that were trained.
        stopped_early: by early stopping.
    """

    key: str
    run_id: str | None
    run_name: str
    monitor: str
    mode: str
    value: float
    accuracy: float
    best_epoch: int
    epochs: int
    stopped_early: bool


def train(
    project: Project,
    config: Mapping[str, Any],
    inputs: Inputs,
    out: Path,
    *,
    command: str,
    name: str | None = None,
    parent: str | None = None,
) -> Trained:
    """Train on the folders of the stages before, write the model into ``out``, and log a run.

    Args:
        project: where the MLflow store is, and whose commit is logged.
        config: the whole resolved configuration.
        inputs: folders that prepare, normalize and augment wrote.
        out: gets best.ckpt, last.ckpt, history.csv, batch.npz (images and labels of the first batch), example.png (an
            image) and run.json.
        command: what started the training, for the log.
        name: of the MLflow run, if the configuration has none.
        parent: key of the run that this one is a part of.

    Raises:
        ConfigError: the configuration asks for other data than what lies on disk.
    """
    _check_inputs(config, inputs)
    datasets = describe_data(inputs.prepared)
    tags = {
        **code_tags(project.root, project.written),
        **command_tags(command),
        **{f"data.{dataset.context}": dataset.digest for dataset in datasets},
        "data.statistics": digest_of(inputs.normalized / "statistics.json"),
        "data.augmentation": digest_of(inputs.augmented / FILE),
    }
    tracking = config["tracking"]
    run_name = tracking["run_name"] or name or _readable_name(config)
    configuration = as_yaml(config)
    out.mkdir(parents=True, exist_ok=True)
    with TrackedRun.start(
        project.root,
        tracking["experiment"],
        run_name,
        tags,
        parent=parent,
        system_metrics=tracking["system_metrics"],
    ) as run:
        # The section evaluate is the business of a later stage, which may change it and run again.
        run.log_params(flat({section: node for section, node in config.items() if section != "evaluate"}))
        run.log_text(configuration, FILE)
        if changes := code_changes(project.root, project.written):
            run.log_text(f"{changes}\n", PATCH)
        run.log_inputs([dataset for dataset in datasets if dataset.context != "test"])
        # torch and Lightning take seconds to import, in which the process that sends to MLflow begins.
        from imagewright.training.fitting import fit

        data = _load(inputs)
        _write_batch(out, data, config)
        fitted = fit(out, data, config, run.log_metrics)
        _write_history(out / "history.csv", fitted.history)
        best = fitted.history[fitted.best_epoch]
        run.log_metrics(
            {
                **{f"best/{name}": value for name, value in best.items() if name.startswith("validation/")},
                "best/epoch": fitted.best_epoch,
                "train/images_per_second": fitted.images_per_second,
            },
            ONCE,
        )
        if tracking["model"]:
            run.log_model(out / "best.ckpt", out / "example.png", fitted.best_epoch)
        files = {path.name: digest_of(path) for path in sorted(out.iterdir()) if path.name in _FILES}
        run.set_tags(
            {
                "imagewright.accelerator": fitted.runtime.accelerator,
                "imagewright.precision": fitted.runtime.precision,
                "imagewright.stopped_early": str(fitted.stopped_early).lower(),
                "sha256.best.ckpt": files["best.ckpt"],
                "sha256.last.ckpt": files.get("last.ckpt", ""),
            }
        )
        run.describe(
            f"{_kind(config)} on {datasets[0].name}: best is epoch {fitted.best_epoch} of {len(fitted.history)}, "
            f"validation accuracy {best['validation/accuracy']:.2%}, by `{command}`."
        )
    trained = Trained(
        key=run.key,
        run_id=run.run_id,
        run_name=run_name,
        monitor=config["callbacks"]["monitor"],
        mode=config["callbacks"]["mode"],
        value=fitted.best_value,
        accuracy=best["validation/accuracy"],
        best_epoch=fitted.best_epoch,
        epochs=len(fitted.history),
        stopped_early=fitted.stopped_early,
    )
    known = record(
        key=run.key, run_id=run.run_id, run_name=run_name, tags=tags, configuration=configuration, files=files
    )
    (out / "run.json").write_text(json.dumps({**asdict(trained), **known}, indent=2) + "\n", encoding="utf-8")
    return trained


def describe_command() -> str:
    """What started this process, as it would be typed again."""
    if "DVC_STAGE" in os.environ:
        experiment = os.environ.get("DVC_EXP_NAME")
        return f"dvc exp run  # {experiment}" if experiment else "dvc repro"
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])


def _check_inputs(config: Mapping[str, Any], inputs: Inputs) -> None:
    """Refuse to train on data that were made from other sections than those of ``config``."""
    for section, folder in (
        ("data", inputs.prepared),
        ("normalize", inputs.normalized),
        ("augment", inputs.augmented),
    ):
        if not (folder / FILE).is_file():
            raise DataError(f"{folder}: is missing; run `dvc repro` first")
        wanted = {name: value for name, value in config[section].items() if (section, name) != ("augment", "preview")}
        asked, made = flat(wanted, section), flat(read_sections(folder / FILE, section)[section], section)
        for path in sorted(asked.keys() | made.keys()):
            if asked.get(path) != made.get(path):
                raise ConfigError(
                    f"{path}: this training asks for {asked.get(path)!r}, but {folder.name} was made with "
                    f"{made.get(path)!r}; set it in params.yaml and run `dvc repro` first"
                )


def _load(inputs: Inputs) -> TrainingData:
    from imagewright.training.fitting import TrainingData

    statistics = json.loads((inputs.normalized / "statistics.json").read_text("utf-8"))
    section = read_sections(inputs.augmented / FILE, "augment")["augment"]
    augment = None
    if section["online"]:
        from imagewright.data.augmentation import Policy  # Albumentations is imported only where it draws.

        augment = Policy(section["transforms"])
    return TrainingData(
        train=[read_split(inputs.prepared / "train"), read_split(inputs.augmented)],
        validation=read_split(inputs.prepared / "validation"),
        classes=read_classes(inputs.prepared),
        shift=statistics["shift"],
        scale=statistics["scale"],
        preprocessing=_preprocessing(read_sections(inputs.prepared / FILE, "data")["data"]),
        augment=augment,
    )


def _preprocessing(section: Mapping[str, Any]) -> dict[str, Any]:
    """What brought the images to their shape, and will bring those to it that are to be predicted."""
    keys = {**section, **section["checks"]}
    return {name: keys[name] for name in ("fit", "background", "value_range", "max_pixels", "min_side")}


def _write_batch(out: Path, data: TrainingData, config: Mapping[str, Any]) -> None:
    """The first batch as it is drawn and augmented, and an image as an example of what the model takes."""
    from imagewright.data.loader import ImageBatches, make_loader

    loader = make_loader(
        ImageBatches(data.train, data.augment, config["seed"]),
        config["trainer"]["batch_size"],
        shuffle=True,
        seed=config["seed"],
    )
    pixels, labels = next(iter(loader))
    np.savez(out / "batch.npz", images=pixels[:_BATCH].permute(0, 2, 3, 1).numpy(), labels=labels[:_BATCH].numpy())
    example = np.asarray(data.validation[0][0])
    Image.fromarray(example[..., 0] if example.shape[2] == 1 else example).save(out / "example.png")


def _kind(config: Mapping[str, Any]) -> str:
    return str(config["model"]["_target_"].rpartition(".")[2])


def _readable_name(config: Mapping[str, Any]) -> str:
    parts = [config[section]["_target_"].rpartition(".")[2].lower() for section in ("model", "optimizer", "scheduler")]
    experiment = os.environ.get("DVC_EXP_NAME")
    return " ".join([*([f"{experiment}:"] if experiment else []), *parts, f"seed={config['seed']}"])


def _write_history(path: Path, history: Mapping[int, Mapping[str, float]]) -> None:
    names = sorted({name for row in history.values() for name in row})
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("epoch", *names))
        table.writerows((epoch, *(row.get(name, "") for name in names)) for epoch, row in history.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--prepared", type=Path, required=True, help="folder of the stage prepare")
    parser.add_argument("--normalized", type=Path, required=True, help="folder of the stage normalize")
    parser.add_argument("--augmented", type=Path, required=True, help="folder of the stage augment")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    arguments = parser.parse_args()
    trained = train(
        find_project(),
        read_sections(arguments.config),
        Inputs(arguments.prepared, arguments.normalized, arguments.augmented),
        arguments.out,
        command=describe_command(),
    )
    print(
        f"trained {trained.epochs} epochs; best is epoch {trained.best_epoch} with {trained.monitor} "
        f"{trained.value:.4f} and validation accuracy {trained.accuracy:.2%}; "
        f"MLflow run {trained.run_name!r} ({trained.run_id or 'to be sent, key ' + trained.key})"
    )


if __name__ == "__main__":
    exit_with(main, stage="train")
