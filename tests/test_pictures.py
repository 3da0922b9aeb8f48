"""The pictures of an evaluation: what is drawn is what was given, and nothing is cut."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb
from PIL import Image
from scipy.stats import binomtest

from imagewright.evaluation.charts import draw_class_scores, draw_curves, draw_reliability, draw_roc
from imagewright.evaluation.confusion import draw_confusion_matrix
from imagewright.evaluation.galleries import (
    confident_mistakes,
    draw_batch,
    draw_least_sure,
    draw_mistakes,
    unsure_hits,
)
from imagewright.evaluation.insides import draw_feature_maps, draw_grad_cam, draw_kernels
from imagewright.metrics.curves import Bin, RocCurve, reliability, roc_curves
from imagewright.paper import BLUE, BLUES, FAINT, GREY, MANY, ORANGE, ORANGES, SIGNED, TEAL, WARM, WIDTH, thumbnails

Images = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

HOSTILE = (
    "<script>alert(1)</script>",
    # No formula: matplotlib would refuse it.
    "$\\frac$ a_b",
    "猫と犬 नमस्ते ไทย",
    "שלום עולם",
    "w" * 400,
    "bad\udcff\x00\n\u202ename",
    "",
)
DPI = 80


def drawn(path: Path) -> Images:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def rgb(colour: Any) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in to_rgb(colour))


def where(picture: Images, colour: Any) -> Mask:
    return np.asarray((picture == rgb(colour)).all(axis=2))


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Beginning and end of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(int)))
    return [*zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)]


def box(mask: Mask) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of what is True."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return rows[0], rows[-1] + 1, columns[0], columns[-1] + 1


def places(picture: Images, pixels: Images) -> list[tuple[int, int]]:
    """Upper left corners of the very pixels."""
    height, width = pixels.shape[:2]
    starts = np.argwhere((picture[: 1 - height or None, : 1 - width or None] == pixels[0, 0]).all(axis=2)).tolist()
    return [(y, x) for y, x in starts if np.array_equal(picture[y : y + height, x : x + width], pixels)]


def enlarged(pixels: Images, factor: int) -> Images:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).repeat(factor, axis=0).repeat(factor, axis=1)


# --- every picture ----------------------------------------------------------------------------------------------------


def names(size: int) -> list[str]:
    return [f"{HOSTILE[at % len(HOSTILE)]}{at}" if size > 2 else HOSTILE[at] for at in range(size)]


def guessed(
    size: int, number: int, *, right: bool | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Labels and probabilities; if wanted all right, or all wrong."""
    random = np.random.default_rng(size)
    labels = random.integers(0, size, number)
    logits = random.normal(size=(number, size)) + 2 * np.eye(size)[labels]
    if right is not None:
        logits[np.arange(number), labels] = 9 if right else -9
    probabilities = np.exp(logits)
    return labels, probabilities / probabilities.sum(axis=1, keepdims=True)


def photos(number: int, channels: int, height: int = 9, width: int = 7) -> Images:
    return np.random.default_rng(number).integers(0, 256, (number, height, width, channels), dtype=np.uint8)


def scored(size: int, *, intervals: bool, empty: bool = False) -> dict[str, dict[str, Any]]:
    random = np.random.default_rng(size)
    rows = {}
    for at, name in enumerate(names(size)):
        low, value, high = sorted(random.random(3).tolist())
        rows[name] = {"f1": value, "precision": low, "recall": high, "support": 0 if empty and at == 0 else 12 + at}
        if intervals:
            rows[name]["f1_interval"] = [low, high]
    return rows


def matrix(size: int, *, mistakes: bool = True) -> list[list[int]]:
    counts = np.diag(np.full(size, 90))
    if mistakes:
        counts += np.random.default_rng(size).integers(0, 4, (size, size))
    found: list[list[int]] = counts.tolist()
    return found


def history(epochs: int) -> dict[int, dict[str, float]]:
    return {
        epoch: {
            f"{split}/{name}": value / (epoch + shift)
            for split, shift in (("train", 0), ("validation", 1))
            for name, value in (("loss", 2.5), ("accuracy", 0.9))
        }
        for epoch in range(1, epochs + 1)
    }


def curves_of(size: int, number: int = 300) -> list[RocCurve | None]:
    labels, probabilities = guessed(size, number)
    return roc_curves(probabilities, labels)


def gallery(draw: Callable[..., None], size: int, channels: int, right: bool | None = None) -> Callable[[Path], None]:
    labels, probabilities = guessed(size, 60, right=right)
    paths = [f"{HOSTILE[row % len(HOSTILE)]}/{row}.png" for row in range(60)]

    def act(path: Path) -> None:
        draw(path, photos(60, channels), labels, probabilities, names(size), paths=paths, most=10, dpi=DPI)

    return act


def grad_cam(channels: int, right: Sequence[bool], confidences: bool = True) -> Callable[[Path], None]:
    number = len(right)
    labels = np.arange(number) % len(HOSTILE)
    guesses = [label if hit else (label + 1) % len(HOSTILE) for label, hit in zip(labels.tolist(), right, strict=True)]
    heat = np.random.default_rng(0).random((number, 9, 7))
    heat[:1] = 0
    sure = [0.987] * number if confidences else None

    def act(path: Path) -> None:
        draw_grad_cam(
            path, photos(number, channels), heat, labels.tolist(), guesses, HOSTILE, confidences=sure, dpi=DPI
        )

    return act


def maps(steps: int, channels: int, side: int = 6) -> list[tuple[str, tuple[int, int, int], npt.NDArray[np.float32]]]:
    values = np.random.default_rng(steps).normal(size=(steps, channels, side, side)).astype(np.float32)
    return [(f"block {at // 3}: step {at}", (channels, side, side), one) for at, one in enumerate(values)]


def trained(epochs: int, best: int, stopped: bool, monitor: str = "validation/loss") -> Callable[[Path], None]:
    return lambda path: draw_curves(
        path, history(epochs), monitor=monitor, best_epoch=best, stopped_early=stopped, dpi=DPI
    )


def batch(number: int, channels: int, most: int) -> Callable[[Path], None]:
    labels = [row % len(HOSTILE) for row in range(number)]
    shift, scale = [100.0] * channels, [60.0] * channels
    return lambda path: draw_batch(path, photos(number, channels), labels, shift, scale, HOSTILE, most=most, dpi=DPI)


def roc(size: int) -> Callable[[Path], None]:
    areas = np.linspace(0.5, 1, size).tolist()
    return lambda path: draw_roc(path, curves_of(size), areas, names(size), dpi=DPI)


def kernels(*shape: int) -> Callable[[Path], None]:
    return lambda path: draw_kernels(path, np.random.default_rng(0).normal(size=shape), dpi=DPI)


def calibrated(number: int, bins: int) -> Callable[[Path], None]:
    labels, probabilities = guessed(4, number)
    return lambda path: draw_reliability(path, reliability(probabilities, labels, bins), 0.0123, dpi=DPI)


PICTURES: dict[str, Callable[[Path], None]] = {
    "curves": trained(40, 31, stopped=True),
    "curves of one epoch": trained(1, 1, stopped=False),
    "curves of many epochs with a long name": trained(300, 290, stopped=True, monitor="validation/accuracy"),
    **{
        f"confusion matrix of {size} classes": lambda path, size=size: draw_confusion_matrix(
            path, matrix(size), names(size), dpi=DPI
        )
        for size in (2, 7, 16, 100, 230)
    },
    "confusion matrix without mistakes": lambda path: draw_confusion_matrix(
        path, matrix(31, mistakes=False), names(31), dpi=DPI
    ),
    "confusion matrix without images": lambda path: draw_confusion_matrix(path, [[0, 0], [0, 0]], names(2), dpi=DPI),
    **{
        f"scores of {size} classes": lambda path, size=size: draw_class_scores(
            path, scored(size, intervals=True, empty=True), macro=0.5, dpi=DPI
        )
        for size in (2, 7, 130)
    },
    "scores without intervals": lambda path: draw_class_scores(path, scored(7, intervals=False), dpi=DPI),
    "reliability": calibrated(500, 15),
    "reliability of one image": calibrated(1, 10),
    "reliability in many bins": calibrated(90, 40),
    **{f"ROC of {size} classes": roc(size) for size in (2, 7, 100)},
    "ROC without curves": lambda path: draw_roc(path, [None, None], [None, None], names(2), dpi=DPI),
    **{
        f"{word} of {size} classes and {channels} channels": gallery(draw, size, channels)
        for word, draw in (("mistakes", draw_mistakes), ("least sure", draw_least_sure))
        for size, channels in ((2, 1), (100, 3))
    },
    "no mistakes": gallery(draw_mistakes, 3, 1, right=True),
    "no hits": gallery(draw_least_sure, 3, 1, right=False),
    "a batch": batch(30, 3, 12),
    "a small grey batch": batch(3, 1, 12),
    "kernels": kernels(32, 3, 3, 1),
    "many kernels": kernels(200, 8, 8, 1),
    "kernels of colours": kernels(12, 5, 5, 3),
    "kernels as large as a photo": kernels(12, 100, 90, 3),
    "feature maps": lambda path: draw_feature_maps(path, photos(1, 3)[0], maps(6, 20), words=HOSTILE[5], dpi=DPI),
    "feature maps of many steps": lambda path: draw_feature_maps(path, photos(1, 1)[0], maps(40, 3), dpi=DPI),
    "large feature maps": lambda path: draw_feature_maps(path, photos(1, 3, 200, 150)[0], maps(2, 9, 130), dpi=DPI),
    "Grad-CAM": grad_cam(3, [True] * 3 + [False] * 2),
    "Grad-CAM of hits alone": grad_cam(1, [True] * 2, confidences=False),
    "Grad-CAM of mistakes alone": grad_cam(1, [False]),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_of_sensible_size_and_nothing_in_it_is_cut(tmp_path: Path, name: str) -> None:
    PICTURES[name](tmp_path / "a.png")
    picture = drawn(tmp_path / "a.png")
    height, width = picture.shape[:2]
    assert width == WIDTH * DPI or (width > WIDTH * DPI and "confusion" in name)
    assert 60 <= height <= 26 * DPI
    assert (picture < 160).any()
    for border in (picture[:2], picture[-2:], picture[:, :2], picture[:, -2:]):
        assert (border == 255).all()


@pytest.mark.parametrize("name", ["curves", "confusion matrix of 7 classes", "Grad-CAM", "feature maps"])
def test_the_same_values_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    for file in ("a.png", "b.png"):
        PICTURES[name](tmp_path / file)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_drawing_imports_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys\n"
        "from imagewright.evaluation import charts, confusion, galleries, insides\n"
        "print([name for name in ('torch', 'matplotlib.pyplot') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


# --- curves -----------------------------------------------------------------------------------------------------------


def test_the_best_epoch_stands_where_it_is_between_the_first_and_the_last(tmp_path: Path) -> None:
    draw_curves(tmp_path / "a.png", history(21), monitor="m", best_epoch=6, stopped_early=False, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    half = picture[picture.shape[0] // 2 :]
    _, _, first, last = box(where(half, BLUE))
    # The longest vertical line in orange.
    column = int(np.argmax(where(half, ORANGE).sum(axis=0)))
    assert (column - first) / (last - first) == pytest.approx((6 - 1) / (21 - 1), abs=0.01)


@pytest.mark.parametrize("stopped", [True, False])
def test_the_end_by_early_stopping_is_a_dashed_line_at_the_last_epoch(tmp_path: Path, stopped: bool) -> None:
    draw_curves(tmp_path / "a.png", history(21), monitor="m", best_epoch=6, stopped_early=stopped, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    _, _, _, last = box(where(picture[picture.shape[0] // 2 :], BLUE))
    # Dashes end in shades of grey.
    near = (picture[:, last - 4 : last + 4].max(axis=2) < 90).any(axis=1)
    assert (sum(end - start > 3 for start, end in runs(near)) > 10) == stopped


def test_a_loss_that_is_no_number_leaves_a_gap(tmp_path: Path) -> None:
    rows = history(9)
    rows[5]["train/loss"] = float("nan")
    del rows[6]["train/accuracy"]
    draw_curves(tmp_path / "a.png", rows, monitor="m", best_epoch=9, stopped_early=False, dpi=DPI)
    draw_curves(tmp_path / "b.png", history(9), monitor="m", best_epoch=9, stopped_early=False, dpi=DPI)
    assert where(drawn(tmp_path / "a.png"), GREY).sum() < 0.9 * where(drawn(tmp_path / "b.png"), GREY).sum()


# --- confusion matrix -------------------------------------------------------------------------------------------------


def test_the_colour_of_a_cell_is_its_share_of_the_true_class(tmp_path: Path) -> None:
    draw_confusion_matrix(tmp_path / "a.png", [[10, 0, 0], [10, 20, 10], [0, 0, 7]], ["a", "b", "c"], dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    full, half, most = (where(picture, colour) for colour in (BLUES(1.0), BLUES(0.5), ORANGES(0.5)))
    top, bottom, left, right = box(full)
    side = (bottom - top) / 3
    assert right - left == bottom - top
    for mask, row, column in ((full, 0, 0), (full, 2, 2), (half, 1, 1), (most, 1, 0), (most, 1, 2)):
        cell = mask[round(top + row * side) : round(top + (row + 1) * side)]
        cell = cell[:, round(left + column * side) : round(left + (column + 1) * side)]
        # All but the numbers and the line between the cells.
        assert cell.mean() > 0.6
    assert not full[round(top + side) : round(top + 2 * side)].any()


@pytest.mark.parametrize("size", [15, 30, 31, 100, 201, 700])
def test_one_mistake_is_seen_where_it_was_made_for_any_number_of_classes(tmp_path: Path, size: int) -> None:
    counts = np.diag(np.full(size, 5))
    row, column = size // 3, size - 2
    counts[row, row], counts[row, column] = 0, 5
    draw_confusion_matrix(tmp_path / "a.png", counts.tolist(), [f"c{at}" for at in range(size)], dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    top, bottom, left, right = box(where(picture, BLUES(1.0)))
    assert right - left == bottom - top
    first, last, start, end = box(where(picture, ORANGES(0.5)))
    assert min(last - first, end - start) >= 3
    middle = ((first + last) / 2 - top) / (bottom - top), ((start + end) / 2 - left) / (right - left)
    assert middle == pytest.approx(((row + 0.5) / size, (column + 0.5) / size), abs=0.003)


def test_a_thousand_classes_take_no_more_memory_than_some_matrices(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 2, (1000, 1000)).tolist()
    classes = [f"class {at}" for at in range(1000)]
    tracemalloc.start()
    draw_confusion_matrix(tmp_path / "a.png", counts, classes, dpi=DPI)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * 8 * 1000**2


def blocks(number: int) -> list[str]:
    """Names that can be told in a picture by their width."""
    return ["█" * (2 + at) for at in range(number)]


def block_widths(mask: Mask) -> list[int]:
    """Widths of the pieces of a colour, from top to bottom."""
    return [int(np.diff(box(mask[top:bottom])[2:])[0]) for top, bottom in runs(mask.any(axis=1))]


def test_the_most_confused_pairs_stand_below_a_matrix_without_numbers(tmp_path: Path) -> None:
    counts = np.diag(np.full(40, 50))
    # The more often first, and of the two that are as frequent the one with the larger share of its class.
    for (row, column), count in {(30, 3): 9, (31, 0): 4, (32, 5): 4, (33, 1): 2}.items():
        counts[row, column] = count
    counts[32, 32] = 0
    draw_confusion_matrix(tmp_path / "a.png", counts.tolist(), blocks(40), dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    below = box(where(picture, BLUES(1.0)))[1]
    widths = block_widths(where(picture, ORANGE)[below:])
    expected = [2 + column for column in (3, 5, 0, 1)]
    assert [width / widths[2] * 2 for width in widths] == pytest.approx(expected, abs=0.2)


@pytest.mark.parametrize(("size", "mistakes", "expected"), [(40, 0, 0), (40, 1, 1), (40, 60, 15), (30, 60, 0)])
def test_no_more_than_fifteen_pairs_are_listed_and_none_where_the_cells_have_numbers(
    tmp_path: Path, size: int, mistakes: int, expected: int
) -> None:
    counts = np.diag(np.full(size, 50))
    for at in range(mistakes):
        counts[at % size, (at % size + 1 + at // size) % size] = 1
    draw_confusion_matrix(tmp_path / "a.png", counts.tolist(), ["III"] * size, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    # The last line between cells.
    below = runs(where(picture, FAINT).sum(axis=1) > 200)[-1][1]
    assert len(block_widths(where(picture, ORANGE)[below:])) == expected


# --- scores by class --------------------------------------------------------------------------------------------------


def score(value: float, low: float, high: float) -> dict[str, Any]:
    return {"f1": value, "precision": value, "recall": value, "support": 10, "f1_interval": [low, high]}


def test_intervals_are_as_long_as_they_are_and_the_lowest_score_stands_first(tmp_path: Path) -> None:
    by_class = {"a": score(0.9, 0.8, 1.0), "b": score(0.1, 0.0, 0.4), "c": score(0.5, 0.4, 0.8)}
    draw_class_scores(tmp_path / "a.png", by_class, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    mask = where(picture, TEAL)
    lines = [box(mask[top:bottom])[2:] for top, bottom in runs(mask.any(axis=1))][-3:]
    left, right = lines[0][0], lines[2][1]
    shares = [tuple((end - left) / (right - left) for end in line) for line in lines]
    for found, wanted in zip(shares, [(0, 0.4), (0.4, 0.8), (0.8, 1)], strict=True):
        assert found == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize(("high", "noticed"), [(0.59, True), (0.61, False)])
def test_a_class_is_orange_if_its_whole_interval_lies_below_the_mean(
    tmp_path: Path, high: float, noticed: bool
) -> None:
    by_class = {"a": score(0.4, 0.3, high), "b": score(0.8, 0.7, 0.9)}
    draw_class_scores(tmp_path / "a.png", by_class, macro=0.6, dpi=DPI)
    assert where(drawn(tmp_path / "a.png"), ORANGE).any() == noticed
    draw_class_scores(tmp_path / "b.png", by_class, dpi=DPI)
    assert not where(drawn(tmp_path / "b.png"), ORANGE).any()


def test_a_class_without_images_stands_last_and_has_no_score(tmp_path: Path) -> None:
    rows = {"a": score(0.4, 0.3, 0.5), "b": score(0.8, 0.7, 0.9)}
    draw_class_scores(tmp_path / "a.png", rows, dpi=DPI)
    draw_class_scores(tmp_path / "b.png", {"c": {**score(0, 0, 0), "support": 0}, **rows}, dpi=DPI)
    few, more = drawn(tmp_path / "a.png"), drawn(tmp_path / "b.png")
    assert more.shape[0] > few.shape[0]
    # What stands above and in the first rows is the same.
    same = box(where(few, TEAL))[1]
    assert where(more, TEAL).sum() == where(few, TEAL).sum()
    assert np.array_equal(where(few, TEAL)[:same], where(more, TEAL)[:same])


# --- reliability ------------------------------------------------------------------------------------------------------


def axes_of_reliability(picture: Images, dpi: int) -> tuple[Images, Images]:
    """What is drawn in the axes above and below."""
    middle = picture[:, round(0.75 * dpi) + 1 : round((WIDTH - 0.3) * dpi)]
    heights = [(4.999, 2.05), (1.749, 0.55)]
    above, below = (middle[-round(top * dpi) + 1 : -round(bottom * dpi) - 1] for top, bottom in heights)
    return above, below


def test_bars_are_as_high_as_accuracy_and_number_of_images(tmp_path: Path) -> None:
    counts, shares = (100, 300, 0, 600), (0.125, 0.375, None, 0.875)
    bins = [
        Bin(at / 4, (at + 1) / 4, count, share, share)
        for at, (count, share) in enumerate(zip(counts, shares, strict=True))
    ]
    draw_reliability(tmp_path / "a.png", bins, 0, dpi=2 * DPI)
    for axes, wanted in zip(
        axes_of_reliability(drawn(tmp_path / "a.png"), 2 * DPI), (shares, [0.1, 0.3, None, 0.6]), strict=True
    ):
        # Right of the middle, where the diagonal runs above the bars.
        columns = [where(axes, TEAL)[:, round((at + 0.7) / 4 * axes.shape[1])] for at in range(4)]
        heights = [column.sum() / columns[3].sum() for column in columns]
        assert heights == pytest.approx([(share or 0) / (wanted[3] or 0) for share in wanted], abs=0.02)


@pytest.mark.parametrize(("confidence", "accuracy"), [(0.9, 0.5), (0.55, 0.8), (0.3, 0.0)])
def test_the_gap_reaches_from_accuracy_to_confidence(tmp_path: Path, confidence: float, accuracy: float) -> None:
    draw_reliability(tmp_path / "a.png", [Bin(0, 1, 10_000, confidence, accuracy)], 0.1, dpi=2 * DPI)
    above, _ = axes_of_reliability(drawn(tmp_path / "a.png"), 2 * DPI)
    top, bottom, _, _ = box(where(above, ORANGE))
    ends = 1 - bottom / len(above), 1 - top / len(above)
    assert ends == pytest.approx(sorted((confidence, accuracy)), abs=0.01)


@pytest.mark.parametrize(("hits", "count"), [(1, 4), (37, 50), (15, 16)])
def test_the_black_line_is_the_interval_of_wilson(tmp_path: Path, hits: int, count: int) -> None:
    share = hits / count
    draw_reliability(tmp_path / "a.png", [Bin(0, 1, count, share, share)], 0, dpi=2 * DPI)
    above, _ = axes_of_reliability(drawn(tmp_path / "a.png"), 2 * DPI)
    middle = above.shape[1] // 2
    top, bottom, _, _ = box(above[:, middle - 3 : middle + 3].max(axis=2) < 40)
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert (1 - bottom / len(above), 1 - top / len(above)) == pytest.approx((expected.low, expected.high), abs=0.01)


# --- ROC --------------------------------------------------------------------------------------------------------------


def corner_at(across: float) -> RocCurve:
    """A curve that goes right, up, right."""
    return RocCurve(np.array([0, across, across, 1]), np.array([0.0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("across", "side"), [(0.5, 1), (0.3, 1), (0.2, 0.4), (0.1, 0.2), (0.03, 0.1), (0.012, 0.05), (0.01, 0.02)]
)
def test_the_corner_is_enlarged_if_all_curves_run_through_it(tmp_path: Path, across: float, side: float) -> None:
    draw_roc(tmp_path / "a.png", [corner_at(across), None], [1 - across, None], ["a", "b"], dpi=DPI)
    picture = drawn(tmp_path / "a.png")[: round(4.8 * DPI)]
    mask = where(picture, BLUE)
    left = 0.8 * DPI + 0.01 / 1.01 * 3.95 * DPI
    right = box(mask)[3]
    column = int(np.argmax(mask.sum(axis=0)))
    assert (column - left) / (right - left) == pytest.approx(across / side, abs=0.01)


@pytest.mark.parametrize(("size", "coloured"), [(2, 2), (10, 10), (11, 8), (60, 8)])
def test_up_to_ten_classes_have_a_colour_each_and_of_more_the_worst_eight(
    tmp_path: Path, size: int, coloured: int
) -> None:
    curves = [corner_at(0.9 - at / 80) for at in range(size)]
    areas = [0.1 + at / 80 for at in range(size)]
    draw_roc(tmp_path / "a.png", curves[::-1], areas[::-1], blocks(size)[::-1], dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    found = [colour for colour in MANY[:-1] if where(picture, colour).sum() > 20]
    assert found == [*MANY[: min(coloured, len(MANY) - 1)]]
    # The lowest area lies to the right of the next, and its name comes first.
    columns = [int(np.argmax(where(picture[: round(4.8 * DPI)], colour).sum(axis=0))) for colour in found]
    assert columns == sorted(columns, reverse=True)
    assert (where(picture[: round(4.8 * DPI)], FAINT).sum() > 5000) == (size == 60)


# --- galleries --------------------------------------------------------------------------------------------------------


def plain(number: int) -> Images:
    """Images of one colour each, all different."""
    random = np.random.default_rng(0)
    colours = random.permutation(number)[:, None] * np.array([3, 5, 7]) % 200 + np.array([20, 30, 40])
    return np.broadcast_to(colours.astype(np.uint8)[:, None, None], (number, 6, 6, 3))


def seen(picture: Images, images: Images) -> list[int]:
    """Rows of the images that are in a picture, as one reads."""
    found = {}
    for row, image in enumerate(images):
        mask = where(picture, image[0, 0] / 255)
        if mask.sum() > 200:
            top, bottom, left, right = box(mask)
            assert mask[top:bottom, left:right].all()
            found[row] = (top, left)
    return sorted(found, key=lambda row: found[row])


@pytest.mark.parametrize("most", [3, 10, 50])
@pytest.mark.parametrize("draw", [draw_mistakes, draw_least_sure])
def test_a_gallery_has_the_images_that_matter_most_in_their_order(
    tmp_path: Path, draw: Callable[..., None], most: int
) -> None:
    labels, probabilities = guessed(4, 50)
    images = plain(50)
    right = [int(np.argmax(row)) == label for row, label in zip(probabilities.tolist(), labels.tolist(), strict=True)]
    rows = [row for row in range(50) if right[row] == (draw is draw_least_sure)]
    rows.sort(key=lambda row: max(probabilities[row]), reverse=draw is draw_mistakes)
    assert len(rows) > 3
    draw(tmp_path / "a.png", images, labels, probabilities, list("abcd"), most=most, dpi=DPI)
    assert seen(drawn(tmp_path / "a.png"), images) == rows[:most]
    choose = unsure_hits if draw is draw_least_sure else confident_mistakes
    assert choose(probabilities, labels, most) == rows[:most]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_gallery_shows_the_very_pixels(tmp_path: Path, channels: int) -> None:
    images = photos(4, channels, 8, 8)
    labels, probabilities = np.array([0, 1, 1, 0]), np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.6, 0.4]])
    draw_mistakes(tmp_path / "a.png", images, labels, probabilities, ["a", "b"], most=5, dpi=DPI)
    draw_least_sure(tmp_path / "b.png", images, labels, probabilities, ["a", "b"], most=2, dpi=DPI)
    for file, expected in (("a.png", [1]), ("b.png", [3, 2])):
        picture = drawn(tmp_path / file)
        found = {row: places(picture, enlarged(image, 10)) for row, image in enumerate(images)}
        assert [row for row in range(4) if found[row]] == sorted(expected)
        assert sorted(expected, key=lambda row: found[row][0]) == expected


def test_the_predicted_class_stands_in_orange_below_a_mistake(tmp_path: Path) -> None:
    labels, probabilities = np.array([0, 1]), np.array([[0.1, 0.2, 0.7], [0.8, 0.1, 0.1]])
    draw_mistakes(tmp_path / "a.png", plain(2), labels, probabilities, ["██", "███", "████"], most=2, dpi=2 * DPI)
    picture = drawn(tmp_path / "a.png")
    words = where(picture, ORANGE)
    # A block is a stretch in all of whose rows there is colour.
    full = words[runs(words.any(axis=1))[0][0] :].sum(axis=0) >= 8
    widths = [end - start for start, end in runs(full) if end - start > 10]
    assert widths[1] / widths[0] == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("draw", [draw_mistakes, draw_least_sure])
def test_where_there_are_none_words_say_so(tmp_path: Path, draw: Callable[..., None]) -> None:
    labels, probabilities = guessed(3, 9, right=draw is draw_mistakes)
    draw(tmp_path / "a.png", plain(9), labels, probabilities, ["a", "b", "c"], most=5, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    assert seen(picture, plain(9)) == []
    # A title and a sentence.
    assert len(runs((picture < 160).any(axis=(1, 2)))) >= 2


@pytest.mark.parametrize(
    ("shift", "scale"), [([0.0] * 3, [1.0] * 3), ([127.5] * 3, [127.5] * 3), ([120.0, 90, 60], [50.0, 60, 80])]
)
def test_a_batch_is_shown_after_normalization_in_one_range_for_all(
    tmp_path: Path, shift: list[float], scale: list[float]
) -> None:
    images = photos(9, 3, 5, 5)
    draw_batch(tmp_path / "a.png", images, [0] * 9, shift, scale, ["a"], most=6, dpi=DPI)
    values = np.stack([(images[:6, ..., at].astype(float) - shift[at]) / scale[at] for at in range(3)], axis=-1)
    expected = np.rint(255 * (values - values.min()) / (values.max() - values.min())).astype(np.uint8)
    assert expected.min() == 0
    assert expected.max() == 255
    picture = drawn(tmp_path / "a.png")
    found = [places(picture, enlarged(image, 11)) for image in expected]
    assert all(len(place) == 1 for place in found)
    assert found == sorted(found)


# --- inside -----------------------------------------------------------------------------------------------------------


def test_a_kernel_is_white_at_0_orange_below_and_blue_above_and_the_strongest_stands_first(tmp_path: Path) -> None:
    kernels = np.zeros((3, 2, 2, 1))
    kernels[0, ..., 0] = [[0.5, 0], [0, 0]]
    kernels[1, ..., 0] = [[1, -1], [0, 0.5]]
    kernels[2, ..., 0] = [[0, 0], [-0.5, -0.5]]
    draw_kernels(tmp_path / "a.png", kernels, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    found = []
    for kernel in kernels[..., 0]:
        expected = np.array([[rgb(SIGNED((value + 1) / 2)) for value in row] for row in kernel], np.uint8)
        found += places(picture, enlarged(expected, 20))
    assert np.argsort([left for _, left in found]).tolist() == [1, 2, 0]
    assert [*map(rgb, (SIGNED(0.0), SIGNED(0.5), SIGNED(1.0)))] == [(140, 45, 4), (255, 255, 255), (8, 48, 107)]


def test_a_kernel_of_three_channels_is_grey_at_0(tmp_path: Path) -> None:
    kernels = np.zeros((2, 2, 2, 3))
    kernels[1, 0, 1] = [2, -2, 1]
    draw_kernels(tmp_path / "a.png", kernels, dpi=DPI)
    expected = np.full((2, 2, 3), 128, np.uint8)
    assert len(places(drawn(tmp_path / "a.png"), enlarged(expected, 20))) == 1
    expected[0, 1] = [255, 0, 191]
    assert len(places(drawn(tmp_path / "a.png"), enlarged(expected, 20))) == 1


def test_of_many_maps_those_that_vary_most_are_drawn_through_the_block(tmp_path: Path) -> None:
    first, second = np.zeros((2, 20, 4, 4))
    for channel in (2, 5, 7, 8, 11, 13, 17, 19):
        first[channel, 0, 0] = 1 + channel / 100
        second[channel, 1:3, 1:3] = 1
    # What does not vary is left out, as large as it may be; what varies in a later step does not count.
    first[0], second[0], second[1, 0, 0] = 5, -1, 30
    steps = [("block 1: convolution", (20, 4, 4), first), ("block 1: pooling", (20, 4, 4), second)]
    draw_feature_maps(tmp_path / "a.png", photos(1, 1)[0], steps, dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    expected = np.full((4, 4, 3), 255, np.uint8)
    expected[1:3, 1:3] = rgb(SIGNED(1.0))
    assert len(places(picture, enlarged(expected, 9))) == 8
    assert not where(picture, SIGNED(0.0)).any()


def test_a_large_map_is_shrunk_and_a_small_one_enlarged_to_their_place(tmp_path: Path) -> None:
    steps = [
        (f"block {side}: step", (8, side, side), np.ones((8, side, side)) * np.linspace(0.5, 1, side)[:, None])
        for side in (200, 3)
    ]
    draw_feature_maps(tmp_path / "a.png", photos(1, 1)[0], steps, dpi=2 * DPI)
    # Above and below each of the two rows of eight, and nowhere on top of each other.
    rows = where(drawn(tmp_path / "a.png"), FAINT)
    lengths = [[end - start for start, end in runs(row) if end - start > 0.4 * DPI] for row in rows]
    assert [len(line) for line in lengths if line] == [8] * 4


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [((200, 100), 82, (66, 33)), ((5, 7), 20, (10, 14)), ((82, 40), 82, (82, 40)), ((2, 300), 50, (1, 50))],
)
def test_an_image_that_must_fit_is_no_larger_than_its_place(
    shape: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    images = np.zeros((1, *shape, 1), np.uint8)
    images[:, :, -(shape[1] // 3) :] = 255
    shown = thumbnails(images, side, fit=True)
    assert shown.shape == (1, *expected, 3)
    # To its end, unless it is too thin to be shrunk.
    assert shown[0, :, -1].all() == (shape[0] > 2)


def test_of_a_network_with_many_steps_the_first_and_the_last_are_drawn(tmp_path: Path) -> None:
    heights = []
    for number in (24, 25, 60):
        draw_feature_maps(tmp_path / f"{number}.png", photos(1, 1)[0], maps(number, 2), dpi=DPI)
        heights.append(drawn(tmp_path / f"{number}.png").shape[0])
    assert heights[0] == heights[1] == heights[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_heat_lies_over_the_grey_image_and_the_more_of_it_the_less_of_the_image_is_seen(
    tmp_path: Path, channels: int
) -> None:
    images = photos(2, channels, 6, 6)
    heat = np.zeros((2, 6, 6))
    heat[1] = np.linspace(0, 1, 36).reshape(6, 6)
    draw_grad_cam(tmp_path / "a.png", images, heat, [0, 1], [0, 0], ["a", "b"], dpi=DPI)
    picture = drawn(tmp_path / "a.png")
    grey = images.astype(float).mean(axis=3)
    warm = np.array([[rgb(WARM(value)) for value in row] for row in heat[1]])
    share = 0.7 * heat[1][..., None]
    overlaid = np.rint(grey[1][..., None] * (1 - share) + warm * share).astype(np.uint8)
    hit, cold = (places(picture, enlarged(image, 14))[0] for image in images)
    without = np.rint(grey[0]).astype(np.uint8)[..., None]
    assert max(left for _, left in places(picture, enlarged(without, 14))) > hit[1]
    ((top, left),) = places(picture, enlarged(overlaid, 14))
    # Beside its image, and mistakes below hits.
    assert top == cold[0] > hit[0]
    assert left > cold[1]
