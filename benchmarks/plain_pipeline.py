"""The yardstick of ``pipeline.py``: the work of ``dvc repro`` on the digits as one plain script in one process.

    python benchmarks/plain_pipeline.py --config config.yaml --out /tmp/plain

No DVC, Hydra, Lightning or MLflow, and nothing of imagewright: NumPy, scikit-learn, Albumentations, PyTorch and
Matplotlib. The values come from the resolved ``config.yaml``, so that both do the same with the same split, for the
default choices: the digits, the cnn, AdamW with one cycle, early stopping by the validation loss, fp32.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

# Read at import: without it, Albumentations asks the network for a newer version.
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations
import numpy as np
import numpy.typing as npt
import torch
import yaml
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support
from sklearn.model_selection import train_test_split
from torch import Tensor, nn

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
History = list[dict[str, float]]

# What this script can do; a configuration with other choices is refused.
CHOICES = {
    ("data", "_target_"): "imagewright.data.sources.digits.Digits",
    ("normalize", "scheme"): "standard",
    ("augment", "online"): False,
    ("model", "_target_"): "imagewright.models.cnn.CNN",
    ("model", "padding"): "same",
    ("model", "pooling"): "max",
    ("model", "batch_norm"): True,
    ("model", "activation"): "relu",
    ("model", "head"): "global_average",
    ("model", "hidden_units"): [],
    ("optimizer", "_target_"): "torch.optim.AdamW",
    ("scheduler", "_target_"): "imagewright.training.schedules.one_cycle",
    ("trainer", "class_weights"): "none",
    ("trainer", "gradient_clip"): None,
    ("callbacks", "monitor"): "validation/loss",
}


@dataclass(frozen=True)
class Split:
    """Images uint8 (N, H, W, 1) and labels int64 (N,)."""

    images: Images
    labels: Labels

    def tensors(self, mean: float, std: float) -> tuple[Tensor, Tensor]:
        """Normalized images, float32 (N, 1, H, W), and labels."""
        images = torch.from_numpy(self.images).permute(0, 3, 1, 2).to(torch.float32)
        return (images - mean) / std, torch.from_numpy(self.labels)


def read_config(path: Path) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    for (section, key), value in CHOICES.items():
        if config[section][key] != value:
            raise SystemExit(f"{section}.{key}: must be {value!r} for this yardstick, got {config[section][key]!r}")
    return config


def load_splits(config: Mapping[str, Any]) -> dict[str, Split]:
    """The digits, class by class in train, validation and test."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = digits.target.astype(np.int64)
    shares, seed = config["data"]["split"], config["seed"]
    every = np.arange(len(labels))
    rest, test = train_test_split(every, test_size=shares["test"], stratify=labels, random_state=seed)
    share = shares["validation"] / (1 - shares["test"])
    train, validation = train_test_split(rest, test_size=share, stratify=labels[rest], random_state=seed)
    parts = {"train": train, "validation": validation, "test": test}
    return {name: Split(images[np.sort(rows)], labels[np.sort(rows)]) for name, rows in parts.items()}


def make_policy(section: Mapping[str, Any], seed: int) -> albumentations.Compose:
    transforms = []
    for node in section["transforms"].values():
        if node is not None and node["p"] > 0:
            keys = {key: value for key, value in node.items() if key != "_target_"}
            transforms.append(getattr(albumentations, node["_target_"].rpartition(".")[2])(**keys))
    return albumentations.Compose(transforms, seed=seed)


def draw_variants(policy: albumentations.Compose, images: Images) -> Images:
    return np.stack([policy(image=image)["image"] for image in images])


def draw_preview(path: Path, policy: albumentations.Compose, train: Split, section: Mapping[str, Any]) -> None:
    """The first image of each class beside its variants."""
    rows = [int(np.flatnonzero(train.labels == label)[0]) for label in range(section["images"])]
    columns = [train.images[rows], *(draw_variants(policy, train.images[rows]) for _ in range(section["variants"]))]
    figure = Figure(figsize=(1.1 * len(columns) + 1.0, 1.1 * len(rows) + 0.8), layout="constrained")
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for column, images in enumerate(columns):
        grid[0, column].set_title(f"variant {column}" if column else "original", fontsize=10)
        for row, pixels in enumerate(images):
            grid[row, column].imshow(pixels[..., 0], cmap="gray", vmin=0, vmax=255)
            grid[row, column].set_xticks([])
            grid[row, column].set_yticks([])
    for row, label in enumerate(train.labels[rows]):
        grid[row, 0].set_ylabel(str(label), rotation=0, ha="right", va="center", labelpad=8)
    figure.savefig(path, dpi=110)


def make_network(section: Mapping[str, Any], classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, filters in pairwise((1, *section["channels"])):
        side = section["kernel_size"]
        layers += [
            nn.Conv2d(inputs, filters, side, section["stride"], side // 2, bias=False),
            nn.MaxPool2d(section["pool_size"]),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
        ]
    head = nn.Dropout(section["dropout"]), nn.Linear(section["channels"][-1], classes)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head)


def train_network(
    network: nn.Module,
    config: Mapping[str, Any],
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    out: Path,
) -> History:
    """Train until early stopping, with the best and the last state in ``out``."""
    images, labels = train
    keys, cycle, trainer = config["optimizer"], config["scheduler"], config["trainer"]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=keys["lr"], betas=keys["betas"], weight_decay=keys["weight_decay"], fused=True
    )
    batches = -(-len(labels) // trainer["batch_size"])
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=keys["lr"],
        total_steps=trainer["max_epochs"] * batches,
        pct_start=cycle["warmup"],
        div_factor=cycle["start_divisor"],
        final_div_factor=cycle["end_divisor"],
        cycle_momentum=False,
    )
    loss_function = nn.CrossEntropyLoss(label_smoothing=trainer["label_smoothing"])
    stopping = config["callbacks"]["early_stopping"]
    history: History = []
    best, waited = float("inf"), 0
    for epoch in range(1, trainer["max_epochs"] + 1):
        network.train()
        loss_sum, hits = torch.zeros(()), torch.zeros((), dtype=torch.int64)
        for rows in torch.randperm(len(labels)).tensor_split(batches):
            target = labels.index_select(0, rows)
            optimizer.zero_grad()
            logits = network(images.index_select(0, rows))
            loss = loss_function(logits, target)
            loss.backward()
            optimizer.step()
            scheduler.step()
            loss_sum += loss.detach() * len(rows)
            hits += (logits.detach().argmax(1) == target).sum()
        logits = predict(network, validation[0], trainer["batch_size"])
        row = {
            "epoch": epoch,
            "train/loss": loss_sum.item() / len(labels),
            "train/accuracy": hits.item() / len(labels),
            "train/learning_rate": scheduler.get_last_lr()[0],
            "validation/loss": loss_function(logits, validation[1]).item(),
            "validation/accuracy": (logits.argmax(1) == validation[1]).double().mean().item(),
        }
        history.append(row)
        print(", ".join(f"{name} {value:.4g}" for name, value in row.items()))
        waited += 1
        if row["validation/loss"] < best - (stopping["min_delta"] if stopping else 0):
            best, waited = row["validation/loss"], 0
            torch.save(network.state_dict(), out / "best.pt")
        states = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save({**states, "scheduler": scheduler.state_dict()}, out / "last.pt")
        if stopping and waited >= stopping["patience"]:
            break
    return history


@torch.inference_mode()
def predict(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    network.eval()
    return torch.cat([network(part) for part in torch.split(images, batch_size)])


def compute_scores(logits: Tensor, labels: Tensor, classes: Sequence[str]) -> dict[str, Any]:
    predicted = logits.argmax(1)
    names = ("precision", "recall", "f1")
    scores: dict[str, Any] = {
        "images": len(labels),
        "loss": nn.functional.cross_entropy(logits, labels).item(),
        "accuracy": float(accuracy_score(labels, predicted)),
    }
    for average in ("macro", "weighted"):
        values = precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)
        scores |= {f"{name}_{average}": float(value) for name, value in zip(names, values[:3], strict=True)}
    each = precision_recall_fscore_support(labels, predicted, labels=range(len(classes)), zero_division=0)
    columns = dict(zip((*names, "support"), (column.tolist() for column in each), strict=True))
    scores["by_class"] = {
        label: {name: column[index] for name, column in columns.items()} for index, label in enumerate(classes)
    }
    scores["confusion_matrix"] = confusion_matrix(labels, predicted, labels=range(len(classes))).tolist()
    return scores


def draw_curves(path: Path, history: History, dpi: int) -> None:
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    epochs = [row["epoch"] for row in history]
    best = min(history, key=lambda row: row["validation/loss"])
    for axes, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split in ("train", "validation"):
            axes.plot(epochs, [row[f"{split}/{name}"] for row in history], linewidth=2, label=split)
        axes.plot([best["epoch"]], [best[f"validation/{name}"]], "o", markersize=8)
        axes.axvline(best["epoch"], linewidth=1, label=f"best epoch {best['epoch']}")
        axes.set_title(f"{name.capitalize()} by epoch", loc="left", fontweight="bold")
        axes.set_xlabel("epoch")
        axes.grid(color="#e5e5e5", linewidth=0.8)
        axes.legend(loc="best")
    figure.savefig(path, dpi=dpi)


def draw_confusion_matrix(path: Path, matrix: list[list[int]], classes: Sequence[str], dpi: int) -> None:
    counts = np.asarray(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 0.62 * len(classes) + 1.5
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), ax=axes, shrink=0.8)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            share = shares[row, column]
            colour = "white" if share > 0.5 else "black"
            axes.text(column, row, f"{count}\n{share:.0%}", ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_title("Confusion matrix of the test images", loc="left", fontweight="bold")
    figure.savefig(path, dpi=dpi)


def draw_class_scores(path: Path, by_class: Mapping[str, Mapping[str, float]], dpi: int) -> None:
    ordered = sorted(by_class.items(), key=lambda item: item[1]["f1"])
    rows = range(len(ordered))
    figure = Figure(figsize=(8, 0.36 * len(ordered) + 1.4), layout="constrained")
    axes = figure.subplots()
    axes.barh(rows, [scores["f1"] for _, scores in ordered], height=0.7, label="F1")
    for name, mark in (("precision", "|"), ("recall", "x")):
        axes.plot([scores[name] for _, scores in ordered], rows, mark, markersize=9, mew=2, label=name)
    axes.set_yticks(rows, [f"{name} ({scores['support']} images)" for name, scores in ordered])
    axes.invert_yaxis()
    axes.set_xlabel("score")
    axes.set_title("Test scores by class, the lowest F1 first", loc="left", fontweight="bold")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    figure.savefig(path, dpi=dpi)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows((header, *rows))


def write_page(path: Path, scores: Mapping[str, Any], config: str) -> None:
    totals = "".join(
        f"<tr><td>{name}</td><td>{value:.4f}</td></tr>" for name, value in scores.items() if isinstance(value, float)
    )
    by_class = "".join(
        f"<tr><td>{html.escape(name)}</td>{''.join(f'<td>{value:.4f}</td>' for value in row.values())}</tr>"
        for name, row in scores["by_class"].items()
    )
    pictures = "".join(f'<p><img src="{name}.png"></p>' for name in ("curves", "confusion_matrix", "class_scores"))
    header = "".join(f"<th>{name}</th>" for name in ("class", "precision", "recall", "F1", "images"))
    path.write_text(
        f"<!doctype html><title>Evaluation</title><h1>Evaluation</h1><table>{totals}</table>{pictures}"
        f"<table><tr>{header}</tr>{by_class}</table><pre>{html.escape(config)}</pre>\n",
        encoding="utf-8",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration")
    parser.add_argument("--out", type=Path, required=True, help="folder that is written")
    arguments = parser.parse_args()
    config, out = read_config(arguments.config), arguments.out
    out.mkdir(parents=True, exist_ok=True)
    random.seed(config["seed"])
    torch.manual_seed(config["seed"])

    splits = load_splits(config)
    train = splits["train"]
    classes = [str(label) for label in range(int(train.labels.max()) + 1)]
    mean, std = float(train.images.mean()), float(train.images.std())
    policy = make_policy(config["augment"], config["seed"])
    draw_preview(out / "augmentation.png", policy, train, config["augment"]["preview"])
    copies = config["augment"]["copies"]
    images = np.concatenate([train.images, *(draw_variants(policy, train.images) for _ in range(copies))])
    enlarged = Split(images, np.tile(train.labels, 1 + copies))

    network = make_network(config["model"], len(classes))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    history = train_network(network, config, enlarged.tensors(mean, std), splits["validation"].tensors(mean, std), out)
    write_csv(out / "history.csv", list(history[0]), [list(row.values()) for row in history])

    network.load_state_dict(torch.load(out / "best.pt", weights_only=True))
    test_images, labels = splits["test"].tensors(mean, std)
    logits = predict(network, test_images, config["evaluate"]["batch_size"])
    scores = compute_scores(logits, labels, classes)
    totals = {name: value for name, value in scores.items() if isinstance(value, float)}
    (out / "metrics.json").write_text(json.dumps(totals, indent=2) + "\n", encoding="utf-8")
    (out / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    guesses = zip(labels.tolist(), logits.argmax(1).tolist(), strict=True)
    pairs = [(row, classes[label], classes[guess]) for row, (label, guess) in enumerate(guesses)]
    write_csv(out / "predictions.csv", ("row", "actual", "predicted"), pairs)
    dpi = config["evaluate"]["dpi"]
    draw_curves(out / "curves.png", history, dpi)
    draw_confusion_matrix(out / "confusion_matrix.png", scores["confusion_matrix"], classes, dpi)
    draw_class_scores(out / "class_scores.png", scores["by_class"], dpi)
    write_page(out / "index.html", scores, arguments.config.read_text("utf-8"))
    print(f"tested {len(labels)} images: accuracy {scores['accuracy']:.2%}, F1 (macro) {scores['f1_macro']:.4f}")


if __name__ == "__main__":
    main()
