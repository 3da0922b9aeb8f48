"""Pages as a person sees them, in headless Chromium: those of the project, and its runs in the MLflow UI."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from conftest import Project, copy_finished
from servers import free_port, serving
from test_pipeline import runs_of

pytestmark = [pytest.mark.slow, pytest.mark.browser]

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# MLflow's pages fetch what they show; on a busy machine that takes its time.
PATIENCE = 60_000  # milliseconds
expect.set_options(timeout=PATIENCE)
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


def find_chromium() -> str:
    """Path of an installed Chromium or Chrome; without one, the tests are skipped unless it is required."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        words = f"none of {', '.join(names)} is installed"
        if os.environ.get("IMAGEWRIGHT_TEST_BROWSER") == "required":
            pytest.fail(words)
        pytest.skip(words)
    return found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A new page, at the size of a desktop and of a phone."""
    width, height = SIZES[request.param]
    opened = chromium.new_page(viewport={"width": width, "height": height})
    opened.set_default_timeout(PATIENCE)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def three_runs(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline ran with three networks."""
    project = copy_finished(finished, tmp_path_factory.mktemp("three") / "project")
    for model in ("mlp", "resnet", "cnn"):
        project.choose(model=model)
        # With resnet and cnn, more than the network differs from the run that is in the cache.
        project.choose(override={"optimizer.lr": 0.004})
        project.repro()
    assert len(runs_of(project)) == 3
    return project


def open_file(page: Page, path: Path) -> list[str]:
    """Open a file as a double click does; the addresses of all that was asked for besides."""
    asked: list[str] = []
    failed: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("console", lambda message: failed.append(message.text) if message.type == "error" else None)
    page.goto(path.as_uri())
    assert failed == []
    return [url for url in asked if url != path.as_uri()]


def looks_right(page: Page) -> None:
    """Nothing is wider than the window, and each picture is there."""
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], "the page must not scroll sideways"  # type: ignore[index]
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    broken = page.evaluate("[...document.images].filter(image => !image.naturalWidth).map(image => image.alt)")
    assert broken == []


def test_the_report_is_one_page_that_needs_nothing_else(finished: Project, page: Page, tmp_path: Path) -> None:
    # Away from its folder: it must not need a file beside it.
    shutil.copy(finished.root / "reports" / "index.html", tmp_path / "index.html")
    asked = open_file(page, tmp_path / "index.html")
    assert [url for url in asked if not url.startswith("data:")] == []
    looks_right(page)
    scores = json.loads((finished.root / "reports" / "metrics.json").read_text("utf-8"))
    expect(page.locator(".tile").first).to_contain_text(f"{scores['accuracy']:.2%}")
    row = page.locator("table.scores tr", has_text="Matthews correlation")
    expect(row).to_contain_text(f"{scores['matthews_correlation']:.4f}")
    for title in ("Confusion matrix", "Reliability", "ROC curves", "Feature maps", "What the network looked at"):
        expect(page.get_by_role("img", name=title)).to_be_visible()
    stages = ["compose", "scan", "prepare", "normalize", "augment", "train", "evaluate"]
    expect(page.locator("table.times td:first-child")).to_have_text(stages)
    expect(page.locator("pre").first).to_contain_text("dvc repro")
    # What is folded away opens.
    configuration = page.get_by_text("label_smoothing: ")
    expect(configuration).to_be_hidden()
    page.get_by_text("All values").click()
    expect(configuration).to_be_visible()
    looks_right(page)


def test_the_report_of_the_data_looks_right(finished: Project, page: Page) -> None:
    open_file(page, finished.root / "reports" / "data" / "index.html")
    looks_right(page)


def test_the_comparison_of_runs_looks_right(three_runs: Project, page: Page, tmp_path: Path) -> None:
    three_runs.run("imagewright", "compare", *(run.info.run_id for run in runs_of(three_runs)))
    shutil.copy(three_runs.root / "reports" / "comparison" / "index.html", tmp_path / "index.html")
    asked = open_file(page, tmp_path / "index.html")
    assert [url for url in asked if not url.startswith("data:")] == []
    looks_right(page)
    expect(page.get_by_text("McNemar").first).to_be_visible()


@pytest.fixture(scope="module")
def ui(three_runs: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of the MLflow UI that `imagewright ui` opens."""
    port = free_port()
    command = [sys.executable, "-m", "imagewright", "ui", "--port", str(port)]
    environment = three_runs.environment()
    with serving(command, f"http://127.0.0.1:{port}/health", three_runs.root, environment):
        yield f"http://127.0.0.1:{port}"


def test_the_page_of_a_run_in_the_mlflow_ui_shows_what_belongs_to_it(three_runs: Project, ui: str, page: Page) -> None:
    run = runs_of(three_runs)[0]
    page.goto(f"{ui}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}")
    expect(page.get_by_text(run.info.run_name).first).to_be_visible()
    expect(page.get_by_text("Test accuracy").first).to_be_visible()  # the description
    body = page.locator("body")
    for words in ("dvc repro", "model.channels", "test/accuracy", run.data.tags["data.test"]):
        expect(body).to_contain_text(words)
    page.goto(f"{ui}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts")
    for words in ("config.yaml", "index.html", "evaluation", "images"):
        expect(page.get_by_text(words, exact=True).first).to_be_attached()


def test_three_runs_can_be_compared_in_the_mlflow_ui(three_runs: Project, ui: str, page: Page) -> None:
    runs = runs_of(three_runs)
    ids, experiments = (
        quote(json.dumps(values)) for values in ([run.info.run_id for run in runs], [runs[0].info.experiment_id])
    )
    page.goto(f"{ui}/#/compare-runs?runs={ids}&experiments={experiments}")
    body = page.locator("body")
    for words in (
        *(run.info.run_name for run in runs),
        *("test/accuracy", "test/accuracy_high", "validation/loss"),
        *("model._target_", "imagewright.models.mlp.MLP"),
    ):
        expect(body).to_contain_text(words)
