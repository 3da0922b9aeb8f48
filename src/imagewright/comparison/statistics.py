"""Runs on their test images, each against a baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewright.metrics.counts import Counts
from imagewright.metrics.paired import McNemar, PairedBootstrap, mcnemar, paired_bootstrap

__all__ = [
    "Against",
    "ClassChange",
    "Confusion",
    "Disagreement",
    "Evaluated",
    "against",
    "against_all",
    "changed",
    "class_changes",
    "confusions",
    "disagreements",
    "holm",
    "p_words",
    "pairs",
    "verdict",
]

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Evaluated:
    """A run on N test images of K classes.

    Attributes:
        run_id: of the run.
        name: of the run.
        classes: K names.
        data: digest of the test data; None if the run does not say it.
        params: name -> value.
        scores: what ``scores.json`` of the evaluation says.
        paths: of the images, N.
        labels: their classes, (N,).
        predicted: what the run takes them for, (N,).
    """

    run_id: str
    name: str
    classes: list[str]
    data: str | None
    params: Mapping[str, str]
    scores: Mapping[str, Any]
    paths: Sequence[str]
    labels: Labels
    predicted: Labels


@dataclass(frozen=True)
class Against:
    """A run B against the baseline A, on the M images that both have.

    Attributes:
        rows: of these images, in A and in B, (2, M).
        labels: their classes, (M,), as A counts them.
        predicted: what A and what B take them for, (2, M).
        num_classes: K.
        mcnemar: test of equal accuracy.
        bootstrap: differences B - A.
        comparisons: with the same baseline, that the two p-values below are corrected for.
        p_accuracy: of McNemar's test, corrected.
        p_f1_macro: of the bootstrap, corrected.
    """

    rows: Labels
    labels: Labels
    predicted: Labels
    num_classes: int
    mcnemar: McNemar
    bootstrap: PairedBootstrap
    comparisons: int
    p_accuracy: float
    p_f1_macro: float

    @property
    def images(self) -> int:
        return len(self.labels)

    def counts(self) -> tuple[Counts, Counts]:
        """Of A and of B."""
        samples = self._of_classes(self.labels)
        a, b = (
            Counts(self._of_classes(self.labels[self.labels == guess]), samples, self._of_classes(guess))
            for guess in self.predicted
        )
        return a, b

    def confusion_matrices(self) -> Labels:
        """Of A and of B: true class, predicted class, (2, K, K)."""
        size = self.num_classes
        flat = [np.bincount(self.labels * size + guess, minlength=size**2) for guess in self.predicted]
        return np.stack(flat).reshape(2, size, size)

    def _of_classes(self, codes: Labels) -> npt.NDArray[np.float64]:
        return np.bincount(codes, minlength=self.num_classes).astype(np.float64)


@dataclass(frozen=True)
class ClassChange:
    """F1 of a class in A and B, on the images that both have.

    Attributes:
        name: of the class.
        support: its images.
        before: F1 in A.
        after: F1 in B.
        low: end of the interval of the difference.
        high: end of the interval of the difference.
    """

    name: str
    support: int
    before: float
    after: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        return self.after - self.before


@dataclass(frozen=True)
class Confusion:
    """How often images of one class are taken for another, in A and B."""

    true: str
    predicted: str
    before: int
    after: int


@dataclass(frozen=True)
class Disagreement:
    """An image that not all runs take for the same.

    Attributes:
        path: of the image.
        label: its class.
        predictions: of each run; None where it has not seen the image.
    """

    path: str
    label: str
    predictions: list[str | None]


def pairs(a: Evaluated, b: Evaluated) -> Labels:
    """Rows of the images that two runs have, the same path and class, in the order of A: in A and in B, (2, M).

    A path that is there several times is paired as often as both have it.
    """
    place = {key: row for row, key in enumerate(_keys(b))}
    found = [(row, place[key]) for row, key in enumerate(_keys(a)) if key in place]
    return np.array(found, dtype=np.int64).reshape(-1, 2).T


def _keys(run: Evaluated) -> list[tuple[str, str, int]]:
    """Path, class, and how often both were there before."""
    seen: Counter[tuple[str, str]] = Counter()
    keys = []
    for path, label in zip(run.paths, run.labels.tolist(), strict=True):
        key = (path, run.classes[label])
        keys.append((*key, seen[key]))
        seen[key] += 1
    return keys


def against(a: Evaluated, b: Evaluated, *, confidence: float, resamples: int, seed: int = 0) -> Against | None:
    """Test B against A; None if they have no test image in common.

    Args:
        a: the baseline.
        b: has the same classes, in any order.
        confidence: share of the resamples within an interval, between 0 and 1.
        resamples: of the bootstrap.
        seed: of its draws.
    """
    rows = pairs(a, b)
    if not rows.size:
        return None
    number = {name: index for index, name in enumerate(a.classes)}
    as_a = np.array([number[name] for name in b.classes])
    labels = a.labels[rows[0]]
    predicted = np.stack([a.predicted[rows[0]], as_a[b.predicted[rows[1]]]])
    size = len(a.classes)
    tested = mcnemar(predicted[0] == labels, predicted[1] == labels)
    drawn = paired_bootstrap(
        labels, predicted[0], predicted[1], size, resamples=resamples, confidence=confidence, seed=seed
    )
    return Against(rows, labels, predicted, size, tested, drawn, 1, tested.p_value, drawn.f1_macro.p_value)


def against_all(
    a: Evaluated, others: Sequence[Evaluated], *, confidence: float, resamples: int, seed: int = 0
) -> list[Against | None]:
    """Test several runs against a baseline, with p-values that are corrected for their number by Holm's method."""
    found = [against(a, b, confidence=confidence, resamples=resamples, seed=seed) for b in others]
    tested = [one for one in found if one is not None]
    corrected = zip(
        tested,
        holm([one.mcnemar.p_value for one in tested]),
        holm([one.bootstrap.f1_macro.p_value for one in tested]),
        strict=True,
    )
    done = iter(
        [replace(one, comparisons=len(tested), p_accuracy=first, p_f1_macro=second) for one, first, second in corrected]
    )
    return [None if one is None else next(done) for one in found]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values that are corrected for their number.

    S. Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6 (1979).
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def verdict(a: str, b: str, tested: Against | None, confidence: float) -> tuple[str, str]:
    """Which of two runs is better.

    Args:
        a: what the baseline is called.
        b: what the other run is called.
        tested: B against A.
        confidence: 1 minus this is the largest p-value that counts as a difference.

    Returns:
        better, worse, mixed, even or unknown, of B; and a sentence.
    """
    if tested is None:
        return "unknown", f"{a} and {b} have no test image in common, so nothing can be said about which one is better."
    images = f"{tested.images:,} test {'image' if tested.images == 1 else 'images'}"
    if (tested.predicted[0] == tested.predicted[1]).all():
        return "even", f"{a} and {b} predict the same for each of the {images}."
    accuracy, f1 = tested.bootstrap.accuracy.difference, tested.bootstrap.f1_macro.difference
    corrected = f", corrected for {tested.comparisons} comparisons" if tested.comparisons > 1 else ""
    facts = {
        "accuracy": f"{100 * accuracy:+.2f} points of accuracy (McNemar {p_words(tested.p_accuracy)}{corrected})",
        "macro F1": f"{f1:+.4f} macro F1 (paired bootstrap {p_words(tested.p_f1_macro)}{corrected})",
    }
    signs = {
        "accuracy": np.sign(accuracy) * (tested.p_accuracy < 1 - confidence),
        "macro F1": np.sign(f1) * (tested.p_f1_macro < 1 - confidence),
    }
    better, worse = ([name for name, sign in signs.items() if sign == wanted] for wanted in (1, -1))
    both = f"{facts['accuracy']} and {facts['macro F1']} on the same {images}"
    if better and worse:
        return "mixed", f"{b} has a better {better[0]} than {a} and a worse {worse[0]}: {both}."
    if not better and not worse:
        return "even", f"No difference between {a} and {b} that the {images} could show: {both}."
    kind, found = ("better", better) if better else ("worse", worse)
    by = "" if len(found) == 2 else f" by {found[0]}, and not to be told apart by {({*signs} - {*found}).pop()}"
    return kind, f"{b} is {kind} than {a}{by}: {both}."


def p_words(p_value: float) -> str:
    """A p-value as it stands in a sentence."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def changed(tables: Sequence[Mapping[str, str]]) -> dict[str, list[str | None]]:
    """Names whose values are not the same in all tables, in order: name -> value in each, None where it is missing."""
    names = sorted({name for table in tables for name in table})
    rows = {name: [table.get(name) for table in tables] for name in names}
    return {name: row for name, row in rows.items() if len({*row}) > 1}


def class_changes(classes: Sequence[str], tested: Against) -> list[ClassChange]:
    """F1 of each class, the largest difference first."""
    a, b = tested.counts()
    rows = [
        ClassChange(name, int(support), before, after, drawn.low, drawn.high)
        for name, support, before, after, drawn in zip(
            classes, a.samples, a.f1.tolist(), b.f1.tolist(), tested.bootstrap.f1_by_class, strict=True
        )
    ]
    return sorted(rows, key=lambda row: -abs(row.difference))


def confusions(classes: Sequence[str], tested: Against) -> list[Confusion]:
    """Pairs of classes that are mistaken more or less often than before, the largest difference first."""
    before, after = tested.confusion_matrices()
    difference = np.where(np.eye(len(before), dtype=bool), 0, after - before)
    rows, columns = np.nonzero(difference)
    order = np.argsort(-np.abs(difference[rows, columns]), kind="stable")
    return [
        Confusion(classes[row], classes[column], int(before[row, column]), int(after[row, column]))
        for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True)
    ]


def disagreements(runs: Sequence[Evaluated], rows: Sequence[Labels]) -> list[Disagreement]:
    """Images that not all runs take for the same, in the order of the baseline.

    Args:
        runs: the baseline first.
        rows: of the images that the baseline and each other run have, as of :func:`pairs`.
    """
    first = runs[0]
    # Row of each image of the baseline in each run, -1 where it is missing.
    places = np.full((len(runs), len(first.labels)), -1)
    places[0] = np.arange(len(first.labels))
    for place, (of_first, of_other) in zip(places[1:], rows, strict=True):
        place[of_first] = of_other
    found = []
    for row, column in enumerate(places.T.tolist()):
        guesses = [
            None if place < 0 else run.classes[run.predicted[place]] for run, place in zip(runs, column, strict=True)
        ]
        if len({*guesses} - {None}) > 1:
            found.append(Disagreement(first.paths[row], first.classes[first.labels[row]], guesses))
    return found
