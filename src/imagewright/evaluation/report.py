"""The report: one HTML page that holds everything, pictures too, and needs no other file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from imagewright.names import shown
from imagewright.page import data_uri, render

__all__ = ["PICTURES", "score_words", "write_report"]

# Picture -> its title, and what is to be seen in it.
PICTURES = {
    "curves": (
        "Loss and accuracy by epoch",
        "Where the two lines part, the network learns the training images by heart. The best epoch is kept.",
    ),
    "confusion_matrix": (
        "Confusion matrix",
        "Each row is a true class: hits in blue on the diagonal, mistakes in orange.",
    ),
    "class_scores": ("F1 by class", "The lowest first, between precision and recall, with its interval."),
    "mistakes": ("The most confident mistakes", "Where the network is wrong and sure of it. Wrong labels hide here."),
    "grad_cam": (
        "What the network looked at",
        "Grad-CAM: the redder a place, the more it spoke for the class that was predicted. Hits, then mistakes.",
    ),
    "reliability": (
        "Reliability",
        "Of the images that the network is 80 % sure of, 80 % should be right: then all bars end at the diagonal.",
    ),
    "roc": (
        "ROC curves",
        "One class against the rest: how many of its images are found, and how many others are taken for it.",
    ),
    "least_sure": ("The least sure hits", "Right, but only just."),
    "batch": ("A training batch as the network sees it", "The first one of the training."),
    "kernels": ("First-layer kernels", "The patterns that the first layer looks for."),
    "feature_maps": (
        "Feature maps",
        "One test image on its way through the network: what each convolution and each pooling step makes of it.",
    ),
    "counts": ("Images of each class and split", "All that is used, and what was refused or left out."),
    "augmentation": ("Augmentation", "Augmentation: training images beside variants of them."),
}

_WORDS = {
    "accuracy": "accuracy",
    "f1_macro": "F1, mean of the classes",
    "f1_weighted": "F1, weighted by images",
    "precision_macro": "precision, mean of the classes",
    "precision_weighted": "precision, weighted by images",
    "recall_macro": "recall, mean of the classes",
    "recall_weighted": "recall, weighted by images",
    "loss": "log loss, in nats",
    "brier": "Brier score",
    "calibration_error": "expected calibration error",
    "roc_auc_macro": "ROC-AUC, one against the rest",
    "average_precision_macro": "average precision, one against the rest",
    "cohen_kappa": "Cohen's kappa",
    "matthews_correlation": "Matthews correlation",
}


def score_words(name: str) -> str:
    """What a score is called where people read it."""
    if name.startswith("accuracy_top_"):
        return f"accuracy among the top {name.rpartition('_')[2]}"
    return _WORDS.get(name, name)


def write_report(
    path: Path,
    *,
    title: str,
    sentence: str,
    warnings: Sequence[str],
    scores: Mapping[str, Any],
    suspects: Sequence[Mapping[str, Any]],
    pictures: Mapping[str, Path],
    data: Mapping[str, Any],
    made: Mapping[str, str],
    command: str,
    times: Sequence[Mapping[str, str]],
    configuration: str,
) -> None:
    """Write the page; every text in it is escaped.

    Args:
        path: of the HTML file.
        title: of the page.
        sentence: under it.
        warnings: what a reader must know before all else.
        scores: what :func:`imagewright.metrics.scores.score` gives, with ``intervals``, ``confidence``, ``resamples``,
            and ``f1_interval`` in ``by_class``.
        suspects: suspected wrong labels: path, split, label, suspected, margin.
        pictures: some of PICTURES -> PNG file.
        data: ``sentence``, ``splits`` (name, images, digest) and ``remarks``.
        made: what the model was made from and by, by a word for it.
        command: that makes it again.
        times: stage, seconds, when.
        configuration: the resolved configuration, as YAML.
    """
    totals = [name for name, value in scores.items() if name in _WORDS or name.startswith("accuracy_top_")]
    page = render(
        "imagewright.evaluation",
        "report.html.j2",
        title=shown(title),
        sentence=sentence,
        warnings=warnings,
        tiles=_tiles(scores),
        confidence=scores["confidence"],
        resamples=scores["resamples"],
        scores=[
            {"name": score_words(name), "value": scores[name], "interval": scores["intervals"].get(name)}
            for name in totals
        ],
        by_class=scores["by_class"],
        suspects=suspects,
        pictures={
            key: {"title": title, "words": words, "source": data_uri(pictures[key])}
            for key, (title, words) in PICTURES.items()
            if key in pictures
        },
        data=data,
        made=made,
        command=command,
        times=times,
        configuration=configuration,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _tiles(scores: Mapping[str, Any]) -> list[dict[str, str]]:
    wrong = scores["images"] - round(scores["accuracy"] * scores["images"])
    tiles = [
        {
            "name": "accuracy",
            "value": f"{scores['accuracy']:.2%}",
            "words": "{:.2%} to {:.2%}".format(*scores["intervals"]["accuracy"]),
        },
        {
            "name": "F1, mean of the classes",
            "value": f"{scores['f1_macro']:.4f}",
            "words": "{:.4f} to {:.4f}".format(*scores["intervals"]["f1_macro"]),
        },
        {"name": "mistakes", "value": f"{wrong:,}", "words": f"of {scores['images']:,} test images"},
        {
            "name": "expected calibration error",
            "value": f"{scores['calibration_error']:.2%}",
            "words": "between confidence and accuracy",
        },
    ]
    weakest = min(scores["by_class"].items(), key=lambda item: item[1]["f1"] if item[1]["support"] else 2)
    tiles.append({"name": "weakest class", "value": shown(weakest[0])[:20], "words": f"F1 {weakest[1]['f1']:.4f}"})
    return tiles
