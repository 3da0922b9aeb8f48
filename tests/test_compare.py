"""`imagewright compare`: the statistics, the runs that are meant, the tables and the page."""

from __future__ import annotations

import csv
import logging
import re
import shutil
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from imagewright.cli import compare
from imagewright.comparison.pictures import draw_class_changes, draw_confusion_change, draw_scores
from imagewright.comparison.statistics import (
    ClassChange,
    Evaluated,
    against,
    against_all,
    changed,
    class_changes,
    confusions,
    disagreements,
    holm,
    pairs,
    verdict,
)
from imagewright.comparison.tables import letter
from imagewright.errors import DataError
from imagewright.tracking.lookup import find_run, last_runs
from imagewright.tracking.store import open_store
from stored import add_run, ended, make_project

Labels = npt.NDArray[np.int64]

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "$x_1$",
    "{{ 7 * 7 }}",
    "new\nline",
    "w" * 400,
)


def run_of(
    labels: Sequence[int] | Labels,
    predicted: Sequence[int] | Labels,
    classes: Sequence[str] = ("a", "b", "c"),
    paths: Sequence[str] = (),
    name: str = "run",
) -> Evaluated:
    labels, predicted = np.asarray(labels, np.int64), np.asarray(predicted, np.int64)
    return Evaluated(
        run_id=name,
        name=name,
        classes=list(classes),
        data="same",
        params={},
        scores={},
        paths=paths or [f"{row}.png" for row in range(len(labels))],
        labels=labels,
        predicted=predicted,
    )


def guess(labels: Labels, size: int, wrong: float, seed: int) -> Labels:
    random = np.random.default_rng(seed)
    return np.where(random.random(len(labels)) < wrong, random.integers(0, size, len(labels)), labels)


# --- statistics -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "size", "lacking"),
    [(1, 2, ()), (40, 2, ()), (300, 5, ()), (300, 6, (2, 5)), (2000, 30, (0,))],
)
def test_differences_are_those_of_scikit_learn_and_scipy(number: int, size: int, lacking: tuple[int, ...]) -> None:
    random = np.random.default_rng(number)
    labels = random.choice([label for label in range(size) if label not in lacking], number)
    guesses = [guess(labels, size, wrong, seed) for wrong, seed in ((0.3, 1), (0.2, 2))]
    classes = [str(label) for label in range(size)]
    found = against(*(run_of(labels, one, classes) for one in guesses), confidence=0.95, resamples=200)
    assert found is not None
    right = [one == labels for one in guesses]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    assert (found.mcnemar.only_a, found.mcnemar.only_b) == only
    expected = binomtest(only[0], sum(only)).pvalue if sum(only) else 1
    assert found.mcnemar.p_value == pytest.approx(expected, abs=1e-6)
    accuracy = [accuracy_score(labels, one) for one in guesses]
    assert found.bootstrap.accuracy.difference == pytest.approx(accuracy[1] - accuracy[0], abs=1e-6)
    # scikit-learn's average is over the classes that have a sample or a prediction, of each classifier by itself.
    macro = [f1_score(labels, one, average="macro", zero_division=0) for one in guesses]
    assert found.bootstrap.f1_macro.difference == pytest.approx(macro[1] - macro[0], abs=1e-6)
    each = [f1_score(labels, one, labels=range(size), average=None, zero_division=0) for one in guesses]
    for change in class_changes(classes, found):
        assert change.before == pytest.approx(each[0][int(change.name)], abs=1e-6)
        assert change.after == pytest.approx(each[1][int(change.name)], abs=1e-6)
        assert change.low - 1e-9 <= change.high
        assert change.support == (labels == int(change.name)).sum()
    matrices = [confusion_matrix(labels, one, labels=range(size)) for one in guesses]
    np.testing.assert_array_equal(found.confusion_matrices(), matrices)
    rebuilt = np.zeros((size, size), int)
    for one in confusions(classes, found):
        assert one.before == matrices[0][int(one.true), int(one.predicted)]
        rebuilt[int(one.true), int(one.predicted)] = one.after - one.before
    np.testing.assert_array_equal(rebuilt, (matrices[1] - matrices[0]) * (1 - np.eye(size, dtype=int)))


def test_the_largest_changes_come_first() -> None:
    labels = np.repeat(np.arange(4), 25)
    found = against(
        *(run_of(labels, guess(labels, 4, wrong, 7), "abcd") for wrong in (0.6, 0.1)), confidence=0.95, resamples=100
    )
    assert found is not None
    for rows in (
        [abs(change.difference) for change in class_changes("abcd", found)],
        [abs(one.after - one.before) for one in confusions("abcd", found)],
    ):
        assert all(first >= second for first, second in pairwise(rows))


@pytest.mark.parametrize("values", [[], [0.03], [0.01, 0.04], [0.04, 0.01, 0.03], [0.5, 0.5, 0.5], [0.02] * 4, [1, 0]])
def test_holms_correction_is_the_largest_of_the_multiples_up_to_a_p_value(values: list[float]) -> None:
    order = sorted(range(len(values)), key=lambda index: values[index])
    expected = {
        index: min(1, max((len(values) - rank) * values[order[rank]] for rank in range(order.index(index) + 1)))
        for index in order
    }
    assert holm(values) == pytest.approx([expected[index] for index in range(len(values))], abs=1e-12)


def test_p_values_are_corrected_for_the_runs_that_could_be_tested() -> None:
    labels = np.repeat(np.arange(3), 60)
    runs = [run_of(labels, guess(labels, 3, wrong, seed)) for wrong, seed in ((0.4, 1), (0.2, 2), (0.3, 3))]
    alien = run_of(labels, labels, paths=[f"elsewhere/{row}" for row in range(180)])
    tests = against_all(runs[0], [runs[1], alien, runs[2]], confidence=0.95, resamples=300)
    assert tests[1] is None
    tested = [test for test in tests if test is not None]
    assert [test.comparisons for test in tested] == [2, 2]
    assert [test.p_accuracy for test in tested] == holm([test.mcnemar.p_value for test in tested])
    assert [test.p_f1_macro for test in tested] == holm([test.bootstrap.f1_macro.p_value for test in tested])


def test_images_are_paired_by_path_and_class_in_any_order() -> None:
    a = run_of([0, 1, 2, 0], [0, 1, 1, 0], paths=["w", "x", "y", "z"])
    b = run_of([0, 0, 1, 1], [0, 2, 2, 1], ["c", "a", "b"], ["y", "new", "z", "x"])  # x has another class
    np.testing.assert_array_equal(pairs(a, b), [[2, 3], [0, 2]])
    found = against(a, b, confidence=0.95, resamples=100)
    assert found is not None
    np.testing.assert_array_equal(found.labels, [2, 0])
    np.testing.assert_array_equal(found.predicted, [[1, 0], [2, 1]])
    assert pairs(a, run_of([0], [0], paths=["none"])).shape == (2, 0)


def test_a_path_that_is_there_several_times_is_paired_as_often_as_both_have_it() -> None:
    a = run_of([0, 0, 0], [0, 1, 2], paths=["x", "x", "x"])
    b = run_of([0, 0], [1, 0], paths=["x", "x"])
    np.testing.assert_array_equal(pairs(a, b), [[0, 1], [0, 1]])


LABELS = np.array([0] * 1000 + [1] * 30 + [2] * 30)
HALF = np.where(np.arange(1060) % 2, LABELS, (LABELS + 1) % 3)
FEW = LABELS.copy()
FEW[[3, 500]] = 1
OTHER_FEW = LABELS.copy()
OTHER_FEW[[7, 8, 9]] = 2
# Better in the class of most images, and blind for the others.
BLIND = np.zeros(1060, int)
SIXTY = np.where((LABELS == 0) & (np.arange(1060) % 5 < 2), 1, LABELS)


@pytest.mark.parametrize(
    ("a", "b", "kind", "words"),
    [
        (HALF, LABELS, "better", "B is better than A: +50.00 points of accuracy (McNemar p < 0.001)"),
        (LABELS, HALF, "worse", "B is worse than A: -50.00 points of accuracy (McNemar p < 0.001)"),
        (FEW, OTHER_FEW, "even", "No difference between A and B that the 1,060 test images could show: -0.09 points"),
        (HALF, HALF, "even", "A and B predict the same for each of the 1,060 test images."),
        (SIXTY, BLIND, "mixed", "B has a better accuracy than A and a worse macro F1"),
    ],
)
def test_the_verdict_says_which_run_is_better(a: Labels, b: Labels, kind: str, words: str) -> None:
    found = against(run_of(LABELS, a), run_of(LABELS, b), confidence=0.95, resamples=500)
    assert verdict("A", "B", found, 0.95)[0] == kind
    assert verdict("A", "B", found, 0.95)[1].startswith(words)


def test_the_verdict_names_the_one_score_that_differs() -> None:
    labels = np.array([0] * 500 + [1] * 12 + [2] * 12)
    a, b = labels.copy(), labels.copy()
    a[500:512] = 0  # one small class is lost
    b[:12] = 1  # as many images, of the large class
    found = against(run_of(labels, a), run_of(labels, b), confidence=0.95, resamples=500)
    kind, sentence = verdict("A", "B", found, 0.95)
    assert kind == "better"
    assert sentence.startswith("B is better than A by macro F1, and not to be told apart by accuracy: +0.00 points")


def test_without_a_common_image_there_is_no_verdict() -> None:
    assert verdict("A", "B", None, 0.95) == (
        "unknown",
        "A and B have no test image in common, so nothing can be said about which one is better.",
    )


def test_values_that_differ_are_found_also_where_one_is_missing() -> None:
    tables = [{"lr": "0.1", "seed": "1", "None": "None"}, {"seed": "1", "lr": "0.2"}, {"lr": "0.1", "seed": "1"}]
    assert changed(tables) == {"None": ["None", None, None], "lr": ["0.1", "0.2", "0.1"]}


def test_disagreements_are_the_images_that_runs_take_for_different_classes() -> None:
    a = run_of([0, 1, 2, 0], [0, 1, 1, 2], paths=["w", "x", "y", "z"])
    b = run_of([2, 0], [2, 2], paths=["y", "z"])
    c = run_of([0, 1], [1, 1], paths=["w", "x"])
    found = disagreements([a, b, c], [pairs(a, b), pairs(a, c)])
    assert [(one.path, one.label, one.predictions) for one in found] == [
        ("w", "a", ["a", None, "b"]),
        ("y", "c", ["b", "c", None]),
    ]


@pytest.mark.parametrize(("number", "expected"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (701, "ZZ")])
def test_runs_are_called_by_letters(number: int, expected: str) -> None:
    assert letter(number) == expected


# --- pictures ---------------------------------------------------------------------------------------------------------


def colours(path: Path) -> int:
    with Image.open(path) as picture:
        assert min(picture.size) > 100
        return len(picture.convert("RGB").getcolors(1 << 20) or [])


@pytest.mark.parametrize("size", [2, 31, 250])
def test_pictures_are_drawn_with_any_number_of_classes_and_any_names(tmp_path: Path, size: int) -> None:
    random = np.random.default_rng(size)
    names = [*map(str, range(size)), *HOSTILE][-size:]
    changes = [
        ClassChange(name, 5, 0.5, 0.5 + step, step - 0.1, step + 0.1)
        for name, step in zip(names, random.uniform(-0.4, 0.4, size).tolist(), strict=True)
    ]
    draw_class_changes(tmp_path / "classes.png", changes, ("A", "B"), 72)
    draw_confusion_change(tmp_path / "matrix.png", random.integers(-3, 4, (size, size)), names, ("A", "B"), 72)
    draw_scores(tmp_path / "scores.png", names[:4], {"f": [(0.5, None), (1.0, (0.9, 1.0))]}, 72)
    assert all(colours(tmp_path / f"{name}.png") > 20 for name in ("classes", "matrix", "scores"))


def test_a_change_for_the_better_is_blue_and_one_for_the_worse_is_orange(tmp_path: Path) -> None:
    for sign, name in ((1, "better"), (-1, "worse")):
        draw_confusion_change(tmp_path / f"{name}.png", sign * np.array([[5, -5], [-5, 5]]), ["a", "b"], ("A", "B"), 72)

    def count(name: str, colour: tuple[int, int, int]) -> int:
        pixels = np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        return int((pixels == colour).all(-1).sum())

    blue, orange = (0x1F, 0x5F, 0xA8), (0xD9, 0x5F, 0x02)
    assert count("better", blue) > 500 > count("better", orange)
    assert count("worse", orange) > 500 > count("worse", blue)


# --- runs of a store --------------------------------------------------------------------------------------------------

CLASSES = ("cat", "dog", "<script>alert(1)</script>")
TRUE = [CLASSES[row % 3] for row in range(60)]
WORSE = [CLASSES[(row + (row % 4 == 0)) % 3] for row in range(60)]
BETTER = [CLASSES[(row + (row % 15 == 0)) % 3] for row in range(60)]
PATHS = [*(f"{row}.png" for row in range(4)), "<img src=x>.png", *(f"{row}.png" for row in range(5, 60))]


@dataclass
class Project:
    """A project with runs: name -> id."""

    root: Path
    runs: dict[str, str]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = make_project(tmp_path_factory.mktemp("with runs") / "a project")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        runs: dict[str, str] = {}

        def add(name: str, predicted: Sequence[str], shown: str | None = None, **more: object) -> None:
            at = 1_700_000_000_000 + 60_000 * len(runs)
            runs[name] = add_run(root, shown or name, TRUE, predicted, classes=CLASSES, paths=PATHS, at=at, **more)  # type: ignore[arg-type]

        add("old", WORSE, params={"optimizer.lr": "0.1", "seed": "1"}, tags={"mlflow.source.git.commit": "1" * 40})
        add(
            "new", BETTER, params={"optimizer.lr": "0.2", "seed": "1"}, experiment="another", tags={"git.dirty": "true"}
        )
        add("no predictions", TRUE, artifacts=False)
        add("sweep", TRUE, metrics={"test/accuracy": 1.0, "jobs": 3.0})
        add("failed", TRUE, status="FAILED")
        add("goes on", TRUE, status="RUNNING")
        add("not tested", TRUE, metrics={"best/validation/loss": 0.1}, artifacts=False)
        # Those above this line are looked up as the last ones.
        client = open_store(root)
        for name, more in (
            ("twin 1", {"shown": "twin"}),
            ("twin 2", {"shown": "twin"}),
            ('it\'s "quoted" 100%_', {}),
            ("other data", {"data": "f" * 16}),
            ("unknown data", {"data": None}),
            ("deleted", {}),
        ):
            add(name, WORSE, status="KILLED", **more)  # type: ignore[arg-type]
        client.delete_run(runs["deleted"])
    return Project(root, runs)


@pytest.fixture
def at(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, as the current folder."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(project.root)
    return project


def refused(*arguments: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What `imagewright compare` says when it refuses."""
    assert ended(lambda: compare.run(arguments)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err


def test_without_names_the_last_two_runs_with_predictions_are_compared(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert ended(lambda: compare.run(["--out", str(tmp_path)])) == 0
    printed = capsys.readouterr().out
    baseline, other = (at.runs[name] for name in ("old", "new"))
    assert re.search(rf"^id +{baseline} +{other}$", printed, re.MULTILINE)
    assert [run.run_id for run in last_runs(open_store(at.root), 9)] == [other, baseline]
    points = 100 * (accuracy_score(TRUE, BETTER) - accuracy_score(TRUE, WORSE))
    assert f"B is better than A: {points:+.2f} points of accuracy (McNemar p" in printed
    only = [int(np.sum((np.array(a) == TRUE) & (np.array(b) != TRUE))) for a, b in ((WORSE, BETTER), (BETTER, WORSE))]
    assert re.search(rf"only A has right +{only[0]}\n.*only this run has right +{only[1]}\n", printed)
    p_value = binomtest(only[0], sum(only)).pvalue
    assert re.search(rf"p of McNemar's test +{p_value:.3f}\n", printed)


def test_what_differs_is_listed_and_what_is_equal_is_left_out(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compare.run(["old", "new", "--out", str(tmp_path)])
    table = capsys.readouterr().out.partition("What differs between them")[2].partition("Scores")[0]
    assert re.search(r"optimizer\.lr +0\.1 +0\.2\n", table)
    assert re.search(r"commit +1{16} +-\n", table)
    assert re.search(r"changed since the commit +- +true\n", table)
    assert "seed" not in table
    assert "test images" not in table


def test_the_first_that_is_named_is_the_baseline(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compare.run([at.runs["new"][:8], at.runs["old"], "--out", str(tmp_path)])
    assert "B is worse than A" in capsys.readouterr().out


def test_three_runs_are_each_compared_with_the_baseline_with_corrected_p_values(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compare.run(["old", at.runs["twin 1"], "new", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "A and B predict the same for each of the 60 test images." in printed
    assert "C is better than A" in printed
    assert "corrected for 2 comparisons" in printed
    assert "Holm" in (tmp_path / "index.html").read_text("utf-8")


def test_all_images_that_are_taken_for_different_classes_are_in_the_csv(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compare.run(["old", "new", "--out", str(tmp_path)])
    with (tmp_path / "images.csv").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "label", *(f"prediction({at.runs[name]})" for name in ("old", "new"))]
    every = zip(PATHS, TRUE, WORSE, BETTER, strict=True)
    differing = [row for row in every if row[2] != row[3]]
    assert [tuple(row) for row in rows] == differing
    assert f"... and {len(differing) - 10} more" in capsys.readouterr().out.partition("Images that they do not")[2]


class Page(HTMLParser):
    """Tags, what they refer to, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attributes if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    compare.run(["old", "new", "--out", str(tmp_path)])
    page = Page((tmp_path / "index.html").read_text("utf-8"))
    (sentence,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("B is better than A: "))
    assert sentence in page.text
    assert "script" not in page.tags
    assert page.tags.count("img") == 3
    assert all(
        reference.startswith("data:image/png;base64,") or reference == "images.csv" for reference in page.references
    )
    for words in ("<script>alert(1)</script>", "<img src=x>.png", "optimizer.lr", at.runs["old"]):
        assert words in page.text


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_a_screen_and_a_phone(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path, width: int
) -> None:
    compare.run(["old", "new", "twin", "--out", str(tmp_path)])
    heard: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport={"width": width, "height": 800})
        page.on("console", lambda message: heard.append(message.text))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.on("request", lambda request: heard.append(request.url) if request.url.startswith("http") else None)
        page.goto((tmp_path / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        drawn = page.evaluate("Array.from(document.images, image => [image.naturalWidth, image.clientWidth])")
        assert len(drawn) == 5
        assert all(natural > 400 and shown > 280 for natural, shown in drawn)
        # Numbers stay on their lines: a table that is too wide is scrolled.
        lines = page.evaluate(
            """Array.from(document.querySelectorAll('td + td:not(:has(bdi))'), cell => {
                const range = document.createRange();
                range.selectNodeContents(cell);
                return new Set(Array.from(range.getClientRects(), box => box.top)).size;
            })"""
        )
        assert set(lines) == {1}
        browser.close()
    assert heard == []


def test_the_page_is_in_the_reports_of_the_project_by_default(at: Project, capsys: pytest.CaptureFixture[str]) -> None:
    compare.run(["old", "new"])
    assert (at.root / "reports" / "comparison" / "index.html").is_file()
    assert f"page    {at.root}/reports/comparison/index.html" in capsys.readouterr().out


def test_runs_with_different_test_data_are_refused(at: Project, capsys: pytest.CaptureFixture[str]) -> None:
    printed = refused("old", "other data", capsys=capsys)
    assert "the test images are not the same (data.test of run 'old'" in printed
    assert "0123456789abcdef" in printed
    assert f"'other data' ({at.runs['other data'][:8]}): ffffffffffffffff" in printed
    assert "--different-test-data" in printed
    assert "unknown" in refused("old", "unknown data", capsys=capsys)


def test_on_demand_runs_with_different_test_data_are_paired_where_they_have_the_same_images(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    half = add_run(
        at.root,
        "half",
        TRUE[:40],
        BETTER[:40],
        classes=CLASSES,
        paths=[*PATHS[:30], *"abcdefghij"],
        data="1" * 16,
        status="KILLED",
    )
    compare.run(["old", half, "--different-test-data", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "A was tested on 60 images, B on 40; 30 are in both, by path and class, and paired." in printed
    assert re.search(r"images that both have +30\n", printed)
    none = add_run(
        at.root,
        "none",
        TRUE,
        BETTER,
        classes=CLASSES,
        paths=[f"no/{path}" for path in PATHS],
        data="2" * 16,
        status="KILLED",
    )
    compare.run(["old", none, "--different-test-data", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "0 are in both, by path and class, so there is no paired test." in printed
    assert "nothing can be said about which one is better" in printed
    assert re.search(r"accuracy +0\.7500 \[", printed)
    assert "None." in Page((tmp_path / "index.html").read_text("utf-8")).text


def test_runs_that_cannot_be_compared_are_refused_with_the_reason(
    at: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert "one run, old, cannot be compared" in refused("old", capsys=capsys)
    same = refused("old", "new", at.runs["old"][:6], capsys=capsys)
    assert f"old and {at.runs['old'][:6]} mean the same run 'old'" in same
    assert "no run has this id or name; did you mean 'old'" in refused("new", "olds", capsys=capsys)
    assert "run 'no predictions'" not in refused("old", "no such", capsys=capsys)
    missing = refused("old", "no predictions", capsys=capsys)
    assert f"run {at.runs['no predictions']}: has no scores.json" in missing
    renamed = add_run(at.root, "renamed", ["cat", "bird"], ["cat", "bird"], status="KILLED")
    different = refused("old", renamed, capsys=capsys)
    assert "runs with different classes cannot be compared: only 'old'" in different
    assert "has <script>alert(1)</script>, dog; only 'renamed'" in different
    assert f"({renamed[:8]}) has bird" in different
    (tmp_path / "file").write_text("in the way")
    assert ended(lambda: compare.run(["old", "new", "--out", str(tmp_path / "file")])) == 2
    assert "--out:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("row,actual,predicted\n0,cat,cat\n", "the columns are row, actual, predicted"),
        ("path,label,prediction,confidence,p(cat),p(dog)\n", "there is no image"),
        ("path,label,prediction,confidence,p(cat),p(dog)\nx,cat,cow,1,1,0\n", "KeyError: 'cow'"),
        ("", "the columns are "),
    ],
)
def test_predictions_of_another_form_are_refused(
    at: Project, capsys: pytest.CaptureFixture[str], content: str, reason: str
) -> None:
    broken = add_run(at.root, "broken", ["cat"], ["cat"], status="KILLED")
    open_store(at.root).log_text(broken, content, "evaluation/predictions.csv")
    printed = refused("old", broken, capsys=capsys)
    assert "run 'broken'" in printed
    assert reason in printed


@pytest.mark.parametrize("wrong", [["--confidence", "1"], ["--confidence", "x"], ["--resamples", "3"]])
def test_arguments_out_of_range_are_refused(at: Project, capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    assert wrong[0] in refused(*wrong, capsys=capsys)


def test_two_runs_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(make_project(tmp_path))
    assert "none has; run `dvc repro`" in refused(capsys=capsys)
    add_run(tmp_path, "alone", ["cat"], ["cat"])
    assert "only run 'alone'" in refused(capsys=capsys)
    assert "there are no runs" not in refused("x", "y", capsys=capsys)


# --- which run is meant -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["old", 'it\'s "quoted" 100%_', "other data"])
def test_a_run_is_found_by_id_start_of_the_id_and_name(at: Project, name: str) -> None:
    client, run_id = open_store(at.root), at.runs[name]
    assert {find_run(client, text).run_id for text in (run_id, run_id[:10], name)} == {run_id}


def test_of_several_runs_with_a_name_the_newest_is_taken_and_that_is_said(
    at: Project, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert find_run(open_store(at.root), "twin").run_id == at.runs["twin 2"]
    assert f"2 runs have the name 'twin'; the newest that is finished is taken, {at.runs['twin 2']}" in caplog.text


def test_a_text_that_may_mean_two_runs_is_refused(at: Project) -> None:
    client = open_store(at.root)
    start = at.runs["old"][:6]
    named = add_run(at.root, start, ["a"], ["a"], status="KILLED")
    with pytest.raises(DataError, match=rf"{start}: means more than one run: .*{named}.*give more of the id"):
        find_run(client, start)
    assert find_run(client, at.runs["old"][:12]).run_id == at.runs["old"]
    client.delete_run(named)


@pytest.mark.parametrize("text", ["deleted", "0" * 32, "abc", "", "' OR 1=1 --", "%", "\udcff", "x" * 600, "run\n"])
def test_a_text_that_means_no_run_is_refused(at: Project, text: str) -> None:
    with pytest.raises(DataError, match="no run has this id or name") as error:
        find_run(open_store(at.root), text)
    str(error.value).encode()


def test_a_deleted_run_is_not_found_by_its_id(at: Project) -> None:
    with pytest.raises(DataError, match="no run has this id"):
        find_run(open_store(at.root), at.runs["deleted"])


@pytest.mark.parametrize("deaf", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_server_that_does_not_answer_is_said_within_seconds(
    at: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], deaf: bool
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if deaf:
            taken.listen()
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        began = time.monotonic()
        printed = refused(capsys=capsys)
        assert time.monotonic() - began < 6
    assert f"the store {url} cannot be used" in printed
