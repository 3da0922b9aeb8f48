"""From a folder of images to arrays and a report, by the commands of a user; what lies in the folder may be hostile."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

import hostile
from conftest import ROOT, Project, copy_project, hear_interrupts
from hostile import Hostile, over, texture
from imagewright.config.composition import compose_config
from imagewright.errors import ConfigError
from imagewright.names import shown
from imagewright.stages.sections import write_sections

pytestmark = pytest.mark.slow

SPLITS = ("train", "validation", "test")
STAGES = ["compose", "scan", "prepare", "normalize", "augment", "train", "evaluate"]
SCAN = (
    *("imagewright.stages.scan", "--config", "config.yaml", "--known", "data/.known.json"),
    *("--out", "data/scanned.jsonl"),
)
PREPARE = (
    *("imagewright.stages.prepare", "--config", "config.yaml", "--out", "data/prepared"),
    *("--report", "reports/data"),
)

Pixels = npt.NDArray[np.uint8]


# --- a folder, and the commands on it ---------------------------------------------------------------------------------


def save(path: Path, pixels: npt.NDArray[Any], **keys: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **keys)
    return path


def folder_of(folder: Path, counts: Mapping[str, int], *, seed: int = 0) -> Path:
    """So many different images in each sub-folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            seed += 1
            save(folder / name / f"{number:03d}.png", texture(seed))
    return folder


def configure(project: Project, folder: Path | str, override: Mapping[str, Any] | None = None) -> None:
    """Choose a folder of images, and compose in this process, which is quicker."""
    size = {"data.image_size": [hostile.HEIGHT, hostile.WIDTH]}
    project.choose(data="folder", override={"data.path": str(folder), **size, **(override or {})})
    config = compose_config(project.root / "conf", project.root / "params.yaml")
    write_sections(project.root / "config.yaml", config)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose code and groups others use."""
    return copy_project(tmp_path_factory.mktemp("base") / "project")


@pytest.fixture
def quick(base: Project, tmp_path: Path) -> Project:
    """A project of its own, without git, whose code is compiled once for all tests."""
    root = tmp_path / "project"
    root.mkdir()
    for name in ("src", "conf"):
        (root / name).symlink_to(base.root / name)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(base.root / name, root / name)
    return Project(root)


def prepare(project: Project, folder: Path | str, override: Mapping[str, Any] | None = None) -> str:
    configure(project, folder, override)
    return project.run("python", "-m", *PREPARE)


def refusal(
    project: Project, folder: Path | str, override: Mapping[str, Any] | None = None, *, lines: int | None = 1
) -> str:
    """What prepare says when it refuses a folder; nothing may be left of it."""
    configure(project, folder, override)
    printed = project.run("python", "-m", *PREPARE, status=2)
    assert printed.startswith("error: data")
    assert "Traceback" not in printed
    assert lines is None or len(printed.splitlines()) == lines
    assert not list((project.root / "data").glob("prepared*"))
    return printed


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def samples(project: Project) -> dict[str, dict[str, str]]:
    rows = read_rows(project.root / "data" / "prepared" / "samples.csv")
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def stored(project: Project) -> dict[str, Pixels]:
    """Path -> stored pixels (H, W, C)."""
    arrays = {split: np.load(project.root / "data" / "prepared" / split / "images.npy") for split in SPLITS}
    return {path: arrays[row["split"]][int(row["row"])] for path, row in samples(project).items()}


def splits_of(project: Project) -> dict[str, str]:
    return {path: row["split"] for path, row in samples(project).items()}


def table(project: Project, name: str) -> list[dict[str, str]]:
    return read_rows(project.root / "reports" / "data" / f"{name}.csv")


def groups_of(project: Project, kind: str) -> list[set[str]]:
    """Paths of each group of duplicates of a kind."""
    groups: dict[str, set[str]] = {}
    for row in table(project, "duplicates"):
        if row["kind"] == kind:
            groups.setdefault(row["group"], set()).add(row["path"])
    return list(groups.values())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def snapshot(folder: Path) -> dict[bytes, tuple[Any, ...]]:
    """All that tells of a change: kinds, sizes, times and contents of everything below a folder."""
    found: dict[bytes, tuple[Any, ...]] = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in (b".", *folders, *files):
            path = os.path.join(place, name)  # noqa: PTH118 -- bytes
            status = os.lstat(path)
            content = Path(os.fsdecode(path)).read_bytes() if status.st_size and os.path.isfile(path) else b""  # noqa: PTH113
            digest = hashlib.sha256(content[:10_000_000]).hexdigest()
            found[path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns, digest)
    return found


# --- the hostile folder -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Prepared:
    """The hostile folder after scan and prepare: read it, never change it."""

    project: Project
    made: Hostile
    printed: str
    before: dict[bytes, tuple[Any, ...]]
    around: set[str]  # what lay beside the project
    inside: set[str]  # what lay in the project before

    def path(self, item: hostile.Item) -> str:
        return shown(item.path)


def names_below(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if ".git" not in path.parts and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    place = tmp_path_factory.mktemp("hostile")
    made = hostile.make(place / "images")
    project = copy_project(place / "project")
    override = {"data.checks.max_pixels": hostile.MAX_PIXELS, "data.checks.max_rejected": 0.5}
    configure(project, made.folder, override)
    around, inside, before = {path.name for path in place.iterdir()}, names_below(project.root), snapshot(made.folder)
    project.run("python", "-m", *SCAN)
    printed = project.run("python", "-m", *PREPARE)
    return Prepared(project, made, printed, before, around, inside)


def test_the_hostile_folder_has_at_least_sixty_kinds_of_odd_input(prepared: Prepared) -> None:
    assert len({item.kind for item in prepared.made.items} - {"good"}) >= 60


def test_each_odd_input_is_used_rejected_left_out_or_ignored_as_it_should_be(prepared: Prepared) -> None:
    used, rejected, left_out = (
        {row["path"] for row in rows}
        for rows in (samples(prepared.project).values(), table(prepared.project, "rejected"), left_rows(prepared))
    )
    assert not used & rejected
    expected = {shown(item.path): (item.kind, item.outcome) for item in prepared.made.items}
    got = {
        path: (
            kind,
            *(
                name
                for name, paths in (("used", used), ("rejected", rejected), ("conflict", left_out))
                if path in paths
            ),
        )
        for path, (kind, outcome) in expected.items()
        if outcome not in ("ignored", "nothing")
    }
    assert got == {path: value for path, value in expected.items() if value[1] not in ("ignored", "nothing")}
    assert used | rejected | left_out == set(got)  # and nothing else


def left_rows(prepared: Prepared) -> list[dict[str, str]]:
    return table(prepared.project, "left_out")


def test_each_rejected_image_has_its_reason_and_what_was_found(prepared: Prepared) -> None:
    rows = {row["path"]: row for row in table(prepared.project, "rejected")}
    expected = {shown(item.path): item.why for item in prepared.made.of("rejected").values()}
    assert {path: row["reason"] for path, row in rows.items()} == expected
    assert all(row["detail"].strip() for row in rows.values())
    looks = {"paper.jpg": "PDF", "archive.png": "ZIP", "pointer.jpg": "git lfs pull", "text.png": "text"}
    looks |= {"object.png": "pickle", "drawing.png": "SVG", "phone.jpg": "HEIC", "phone.heic": ".heic"}
    for name, words in looks.items():
        (row,) = (row for path, row in rows.items() if path.endswith(f"/{name}"))
        assert words in row["detail"]


def test_no_reason_names_an_object_in_memory_and_two_runs_write_the_same_bytes(
    prepared: Prepared, tmp_path: Path
) -> None:
    assert [row for row in table(prepared.project, "rejected") if " at 0x" in row["detail"]] == []
    shutil.copytree(prepared.project.root, tmp_path / "project")
    again = Project(tmp_path / "project")
    again.run("python", "-m", *PREPARE)
    for folder in ("data/prepared", "reports/data"):
        assert contents(again.root / folder) == contents(prepared.project.root / folder)


def test_what_is_no_image_is_counted_by_kind(prepared: Prepared) -> None:
    expected = Counter(item.why for item in prepared.made.of("ignored").values())
    summary = json.loads((prepared.project.root / "reports" / "data" / "summary.json").read_text("utf-8"))
    assert summary["ignored"] == expected
    line = next(line for line in prepared.printed.splitlines() if line.startswith("ignored: "))
    assert dict(reversed(part.split(" ", 1)) for part in line.removeprefix("ignored: ").split(", ")) == {
        kind: str(count) for kind, count in expected.items()
    }


def test_what_was_mended_is_noted_and_nothing_else(prepared: Prepared) -> None:
    notes = {path: row["notes"] for path, row in samples(prepared.project).items()}
    wrong = {
        (item.path, item.kind): (item.note, notes[shown(item.path)])
        for item in prepared.made.of("used").values()
        if item.note not in notes[shown(item.path)] or bool(item.note) != bool(notes[shown(item.path)])
    }
    assert wrong == {}


def test_the_stored_pixels_are_those_that_each_image_was_made_of(prepared: Prepared) -> None:
    pixels = stored(prepared.project)
    compared, wrong = 0, {}
    for item in prepared.made.of("used").values():
        if item.pixels is not None:
            compared += 1
            difference = np.abs(pixels[shown(item.path)].astype(float) - item.pixels).mean()
            if difference > item.tolerance:
                wrong[item.path, item.kind] = difference
    assert wrong == {}
    assert compared > 100


def test_sixteen_bits_are_scaled_and_never_clipped(prepared: Prepared) -> None:
    pixels = {path.rsplit("/", 1)[1]: values for path, values in stored(prepared.project).items()}
    for name in ("16 bit.png", "16 bit.tif", "32 bit.tif", "wide.tif", "float.tif", "negative.tif"):
        assert (pixels[name] == 255).mean() < 0.02, name
        assert len(np.unique(pixels[name])) > 50, name


def test_the_numbers_of_the_summary_are_those_of_a_plain_count(prepared: Prepared) -> None:
    summary = json.loads((prepared.project.root / "reports" / "data" / "summary.json").read_text("utf-8"))
    made = prepared.made
    used, rejected, conflict = (len(made.of(outcome)) for outcome in ("used", "rejected", "conflict"))
    assert summary["images"] == {
        "listed": used + rejected + conflict,
        "used": used,
        "refused": rejected,
        "left_out": conflict,
    }
    assert summary["refused"] == Counter(item.why for item in made.of("rejected").values())
    by_class = Counter(item.label for item in made.of("used").values())
    assert {row["name"]: row["used"] for row in summary["classes"]} == {shown(n): c for n, c in by_class.items()}
    assert f"prepared {used} images in 4 classes" in prepared.printed
    line = next(line for line in prepared.printed.splitlines() if line.startswith("unusable"))
    assert sum(int(part.split()[0]) for part in line.split(": ")[1].split(", ")) == rejected


def test_equal_pixels_in_other_formats_are_found_and_stand_in_one_split(prepared: Prepared) -> None:
    expected = [{shown(path) for path in group} for group in prepared.made.exact]
    assert sorted(map(sorted, groups_of(prepared.project, "exact"))) == sorted(map(sorted, expected))
    digests: dict[str, set[str]] = {}
    for path, pixels in stored(prepared.project).items():
        digests.setdefault(hashlib.sha256(pixels.tobytes()).hexdigest(), set()).add(path)
        assert samples(prepared.project)[path]["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
        if len(digests) > 20:
            break
    split = splits_of(prepared.project)
    for group in expected:
        assert len({split[path] for path in group if path in split}) <= 1


def test_images_that_look_the_same_are_found_and_no_others(prepared: Prepared) -> None:
    expected = [{shown(path) for path in group} for group in prepared.made.near]
    assert groups_of(prepared.project, "near") == expected
    split = splits_of(prepared.project)
    assert len({split[path] for path in expected[0]}) == 1


def test_the_originals_are_as_they_were(prepared: Prepared) -> None:
    assert snapshot(prepared.made.folder) == prepared.before


def test_nothing_is_written_outside_of_the_folders_of_the_pipeline(prepared: Prepared) -> None:
    root = prepared.project.root
    assert {path.name for path in root.parent.iterdir()} == prepared.around
    fresh = names_below(root) - prepared.inside
    own = ("data/prepared", "data/scanned.jsonl", "data/.known.json", "data/.times.json", "reports")
    assert [name for name in fresh if not name.startswith(own)] == []
    # No name of a file is made of a name of the source.
    assert [name for name in fresh if not re.fullmatch(r"[a-z0-9_./-]+", name)] == []
    assert not list(root.parent.rglob("pwned"))


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.words: set[str] = set()
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.words.add(data.strip())


def test_the_page_shows_every_class_and_rejected_name_as_text(prepared: Prepared) -> None:
    page = Page(prepared.project.root / "reports" / "data" / "index.html")
    assert "script" not in page.tags
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert {
        value for name, value in page.attributes if name == "src" and ("/" in (value or "") or value == "x")
    } == set()
    assert {shown(name) for name in hostile.CLASSES} <= page.words
    assert {shown(path) for path in prepared.made.of("rejected")} <= page.words


# --- the hostile folder, trained --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, str]:
    """The hostile folder after `dvc repro`, and what that printed."""
    place = tmp_path_factory.mktemp("trained") / "project"
    shutil.copytree(prepared.project.root, place)
    project = Project(place)
    return project, project.run("dvc", "repro")


def test_the_hostile_folder_gives_a_trained_model_and_its_scores(trained: tuple[Project, str]) -> None:
    project, printed = trained
    assert [line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")] == STAGES
    metrics = json.loads((project.root / "reports" / "metrics.json").read_text("utf-8"))
    split = splits_of(project)
    assert metrics["images"] == sum(value == "test" for value in split.values())
    assert metrics["accuracy"] > 0.4  # of four classes
    predictions = read_rows(project.root / "reports" / "evaluation" / "predictions.csv")
    assert {row["label"] for row in predictions} == {shown(name) for name in hostile.CLASSES}
    assert (project.root / "models" / "best.ckpt").is_file()


def test_names_of_classes_in_any_script_cause_no_warning(trained: tuple[Project, str]) -> None:
    assert [line for line in trained[1].splitlines() if "Warning" in line] == []


def test_the_page_of_the_evaluation_shows_the_classes_as_text(trained: tuple[Project, str]) -> None:
    page = Page(trained[0].root / "reports" / "index.html")
    assert "script" not in page.tags
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert {shown(name) for name in hostile.CLASSES} <= page.words


def test_a_second_repro_runs_the_scan_and_nothing_else(trained: tuple[Project, str]) -> None:
    assert trained[0].repro() == ["scan"]


# --- against a plain script -------------------------------------------------------------------------------------------


def plain_pixels(path: Path, height: int, width: int) -> Pixels:
    """What NumPy and Pillow make of an image: over white, its middle, in this size."""
    with Image.open(path) as image:
        colour = np.asarray(image.convert("RGBA")).astype(float)
    share = colour[..., 3:] / 255
    flat = Image.fromarray(np.rint(colour[..., :3] * share + 255 * (1 - share)).astype(np.uint8))
    scale = max(height / flat.height, width / flat.width)
    inner_width, inner_height = min(width / scale, flat.width), min(height / scale, flat.height)
    left, top = max(flat.width - inner_width, 0) / 2, max(flat.height - inner_height, 0) / 2
    box = (left, top, left + inner_width, top + inner_height)
    return np.asarray(flat.resize((width, height), Image.Resampling.BICUBIC, box))


def test_counts_splits_duplicates_and_statistics_are_those_of_a_plain_script(quick: Project, tmp_path: Path) -> None:
    folder, random = tmp_path / "images", np.random.default_rng(3)
    counts = {"a": 40, "b": 25, "c": 13}
    for number, (name, count) in enumerate(counts.items()):
        for index in range(count):
            image = Image.fromarray(texture(1000 * number + index))
            side = int(random.integers(30, 90))
            image = image.resize((side, int(random.integers(30, 90))), Image.Resampling.BICUBIC)
            image = image.convert(("RGB", "L", "RGBA")[index % 3])
            if image.mode == "RGBA":
                image.putalpha(int(random.integers(100, 256)))
            path = folder / name / f"{index}.{('bmp', 'png', 'webp')[index % 3]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, **({"lossless": True, "exact": True} if index % 3 == 2 else {}))
        with Image.open(folder / name / "0.bmp") as image:
            image.save(folder / name / "again.png")
    height, width = 32, 24
    prepare(quick, folder, {"data.image_size": [height, width], "data.duplicates.near": False})
    normalize = ("imagewright.stages.normalize", "--config", "config.yaml", "--prepared", "data/prepared")
    quick.run("python", "-m", *normalize, "--out", "data/normalized")
    plain = {str(path.relative_to(folder)): plain_pixels(path, height, width) for path in folder.rglob("*.*")}
    pixels, split = stored(quick), splits_of(quick)
    assert set(pixels) == set(plain)
    for path, expected in plain.items():
        # A value between two rounds up or down before the image is resized.
        np.testing.assert_allclose(pixels[path].astype(int), expected.astype(int), atol=2, err_msg=path)
    for name, count in counts.items():
        inside = Counter(value for path, value in split.items() if path.startswith(f"{name}/"))
        assert inside.total() == count + 1
        for part in ("validation", "test"):
            assert abs(inside[part] - 0.15 * (count + 1)) <= 1
    for part in SPLITS:
        labels = np.load(quick.root / "data" / "prepared" / part / "labels.npy")
        expected_labels = ["abc".index(path[0]) for path, value in split.items() if value == part]
        np.testing.assert_array_equal(labels, expected_labels)
    same: dict[bytes, set[str]] = {}
    for path, values in plain.items():
        same.setdefault(values.tobytes(), set()).add(path)
    assert sorted(map(sorted, groups_of(quick, "exact"))) == sorted(sorted(g) for g in same.values() if len(g) > 1)
    assert len(groups_of(quick, "exact")) == 3
    statistics = json.loads((quick.root / "data" / "normalized" / "statistics.json").read_text("utf-8"))
    training = np.stack([plain[path] for path, value in split.items() if value == "train"]).astype(float)
    np.testing.assert_allclose(statistics["mean"], training.mean(axis=(0, 1, 2)), atol=0.2)
    np.testing.assert_allclose(statistics["std"], training.std(axis=(0, 1, 2)), atol=0.2)


# --- the form of the images -------------------------------------------------------------------------------------------


def test_images_without_colour_are_stored_with_one_channel(quick: Project, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    grey = {f"{name}/{index}.png": texture(100 * ord(name) + index)[..., 0] for name in "ab" for index in range(8)}
    for path, pixels in grey.items():
        save(folder / path, pixels)
    save(folder / "a" / "deep.png", texture(5)[..., 0].astype(np.uint16) * 257)
    save(folder / "a" / "again.bmp", grey["a/0.png"])
    prepare(quick, folder)
    found = stored(quick)
    for path, pixels in grey.items():
        np.testing.assert_array_equal(found[path], pixels[..., None])
        assert samples(quick)[path]["sha256"] == hashlib.sha256(pixels.tobytes()).hexdigest()
    assert groups_of(quick, "exact") == [{"a/0.png", "a/again.bmp"}]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_channels_that_are_chosen_are_stored(quick: Project, tmp_path: Path, channels: int) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, "b": 4})
    save(folder / "a" / "grey.png", texture(77)[..., 0])
    prepare(quick, folder, {"data.channels": channels})
    found = stored(quick)
    assert {pixels.shape[2] for pixels in found.values()} == {channels}
    with Image.open(folder / "b" / "000.png") as image:
        luma = np.asarray(image).astype(float) @ (0.299, 0.587, 0.114)  # ITU-R BT.601
        expected = luma[..., None] if channels == 1 else np.asarray(image)
    assert np.abs(found["b/000.png"] - expected).max() <= (1 if channels == 1 else 0)


def test_fit_background_and_value_range_are_those_that_are_chosen(quick: Project, tmp_path: Path) -> None:
    folder, background = folder_of(tmp_path / "images", {"a": 4, "b": 4}), (200, 30, 90)
    wide = np.repeat(texture(50), 2, axis=1)  # 48 x 80
    save(folder / "a" / "wide.png", wide)
    alpha = np.full((hostile.HEIGHT, hostile.WIDTH), 64, np.uint8)
    save(folder / "a" / "alpha.png", np.dstack([texture(51), alpha]))
    deep = texture(52)[..., 0].astype(np.uint16) + 1000
    save(folder / "a" / "deep.png", deep)
    keys = {"data.fit": "pad", "data.background": list(background), "data.value_range": "image"}
    prepare(quick, folder, keys)
    padded = stored(quick)
    inner = padded["a/wide.png"][12:36]
    assert (padded["a/wide.png"][:12] == background).all()
    assert (padded["a/wide.png"][36:] == background).all()
    resized = Image.fromarray(wide).resize((hostile.WIDTH, hostile.HEIGHT // 2), Image.Resampling.BICUBIC)
    assert np.abs(inner - np.asarray(resized).astype(int)).max() <= 1
    assert np.abs(padded["a/alpha.png"] - over(texture(51), alpha, background).astype(int)).max() <= 1
    values = (deep - deep.min()) / (deep.max() - deep.min()) * 255
    np.testing.assert_array_equal(padded["a/deep.png"], np.repeat(np.rint(values)[..., None], 3, axis=2))
    prepare(quick, folder, {"data.fit": "stretch", "data.value_range": "type"})
    stretched = stored(quick)
    resized = Image.fromarray(wide).resize((hostile.WIDTH, hostile.HEIGHT), Image.Resampling.BICUBIC)
    assert np.abs(stretched["a/wide.png"] - np.asarray(resized).astype(int)).max() <= 1
    np.testing.assert_array_equal(stretched["a/deep.png"][..., 0], np.rint(deep / 65535 * 255))


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["valid", "Validation"])
def test_splits_of_the_source_are_kept(quick: Project, tmp_path: Path, name: str) -> None:
    folder = folder_of(
        tmp_path / "images",
        {f"{split}/{label}": count for split, count in (("train", 9), (name, 4), ("test", 2)) for label in "ab"},
    )
    prepare(quick, folder)
    expected = {"train": "train", name: "validation", "test": "test"}
    assert {path: expected[path.split("/")[0]] for path in splits_of(quick)} == splits_of(quick)
    assert Counter(splits_of(quick).values()) == {"train": 18, "validation": 8, "test": 4}
    assert json.loads((quick.root / "data" / "prepared" / "classes.json").read_text()) == ["a", "b"]


def test_a_missing_validation_split_is_cut_from_training_and_the_test_images_stay(
    quick: Project, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path / "images", {"train/a": 20, "train/b": 20, "test/a": 3, "test/b": 5})
    save(folder / "test" / "a" / "seen.png", texture(1))  # also train/a/000.png
    printed = prepare(quick, folder)
    split = splits_of(quick)
    assert {path for path, value in split.items() if value == "test"} == {p for p in split if p.startswith("test/")}
    drawn = Counter(path.split("/")[1] for path, value in split.items() if value == "validation")
    assert drawn == {"a": 3, "b": 3}
    assert "of the source share: 1" in printed  # it is said, not mended


def test_a_missing_test_split_is_cut_from_training(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"train/a": 20, "train/b": 20, "val/a": 3, "val/b": 5})
    prepare(quick, folder)
    split = splits_of(quick)
    assert {path for path, value in split.items() if value == "validation"} == {p for p in split if p[:3] == "val"}
    assert Counter(split.values())["test"] == 6


def test_names_of_splits_without_train_are_names_of_classes(quick: Project, tmp_path: Path) -> None:
    prepare(quick, folder_of(tmp_path / "images", {"test": 5, "val": 5}))
    assert {row["class"] for row in samples(quick).values()} == {"test", "val"}
    assert set(splits_of(quick).values()) == set(SPLITS)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not hold for root")
def test_a_folder_that_may_only_be_read_is_enough(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, "b": 4})
    secret = save(folder / "a" / "secret.png", texture(99))
    secret.chmod(0)
    for place in (folder / "a", folder / "b", folder):
        place.chmod(0o555)
    try:
        configure(quick, folder, {"data.checks.max_rejected": None})
        quick.run("python", "-m", *SCAN)
        quick.run("python", "-m", *PREPARE)
    finally:
        for place in (folder, folder / "a", folder / "b"):
            place.chmod(0o755)
    (row,) = table(quick, "rejected")
    assert (row["path"], row["reason"]) == ("a/secret.png", "not readable")


def test_a_relative_path_starts_at_the_project_also_in_an_experiment_of_dvc(quick: Project) -> None:
    folder_of(quick.root / "data" / "raw", {"a": 4, "b": 4})
    configure(quick, "data/raw")
    copy = Project(quick.root / ".dvc" / "tmp" / "exps" / "one")
    names = ("dvc.yaml", "params.yaml", "config.yaml")
    copy.root.mkdir(parents=True)
    for name in names:
        shutil.copy(quick.root / name, copy.root / name)
    shutil.copytree(quick.root / "src", copy.root / "src")
    (copy.root / "data").mkdir()
    for project in (quick, copy):
        project.run("python", "-m", *SCAN)
        project.run("python", "-m", *PREPARE)
    assert contents(copy.root / "data" / "prepared") == contents(quick.root / "data" / "prepared")
    scanned = (quick.root / "data" / "scanned.jsonl").read_text()
    assert (copy.root / "data" / "scanned.jsonl").read_text() == scanned
    assert [json.loads(line)[0] for line in scanned.splitlines()[1:]] == sorted(samples(quick))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({}, ["has no sub-folder with images", "folder with its name"]),
        ({".": 3}, ["has no sub-folder with images", "but 3 images beside them"]),
        (
            {"train/a": 3, "test/a": 3, "other": 3},
            ["folders of splits ('test', 'train')", "others beside them ('other')"],
        ),
        ({"train/a": 3, "val/a": 3, "valid/a": 3}, ["two folders for the same split: 'val', 'valid'", "join them"]),
        ({"Cat": 4, "cat": 4}, ["'Cat' and 'cat' differ in upper and lower case only"]),
        ({"caf\u00e9": 4, "cafe\u0301": 4}, ["'caf\u00e9'", "differ"]),
        ({"a": 5, "b": 0, "c": 0}, ["data.empty_class", "got 0 for 'b', 'c'", "leave_out"]),
        ({"a": 5, "b": 2}, ["class 'b' has 2 images", "at least 3"]),
        ({"a": 0}, ["data"]),
        (
            {"train/a": 5, "train/b": 5, "test/a": 2, "test/c": 4},
            ["class 'c' has 4 images, but none of them to train on"],
        ),
        ({"train/a": 5, "train/b": 1, "test/a": 2, "test/b": 2}, ["class 'b' has 1 images", "at least 2"]),
    ],
)
def test_a_layout_that_cannot_be_trained_is_refused_with_its_place_and_rule(
    quick: Project, tmp_path: Path, layout: dict[str, int], words: list[str]
) -> None:
    printed = refusal(quick, folder_of(tmp_path / "images", layout))
    assert [word for word in words if word not in printed] == []


def test_a_path_that_is_missing_or_no_folder_is_refused_by_scan_and_by_prepare(quick: Project, tmp_path: Path) -> None:
    file = save(tmp_path / "image.png", texture(1))
    for path, words in ((tmp_path / "nothing", "does not exist"), (file, "is no folder")):
        printed = refusal(quick, path)
        assert f"data.path: must name a folder with one sub-folder of images a class, got {str(path)!r}" in printed
        assert words in printed
        assert quick.run("python", "-m", *SCAN, status=2) == printed


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ({"data.path": " "}, "the path of a folder"),
        ({"data.image_size": [0, 8]}, "data.image_size"),
        ({"data.channels": 2}, "auto, 1 or 3"),
        ({"data.fit": "zoom"}, "crop, pad, stretch"),
        ({"data.background": [0, 0, 256]}, "from 0 to 255"),
        ({"data.value_range": "auto"}, "type, image"),
        ({"data.checks.max_pixels": 0}, "data.checks.max_pixels"),
        ({"data.checks.min_side": -1}, "data.checks.min_side"),
        ({"data.checks.max_rejected": 1.5}, "a share from 0 to below 1, or a whole number"),
        ({"data.duplicates.max_distance": 17}, "0 to 16"),
        ({"data.duplicates.min_correlation": 1.1}, "above 0 and at most 1"),
        ({"data.duplicates.conflicts": "ask"}, "keep, drop_exact, drop"),
        ({"data.empty_class": "ignore"}, "error, leave_out"),
        ({"data.split.test": 1}, "above 0 and below 1"),
    ],
)
def test_a_value_of_the_data_that_breaks_a_rule_is_refused_by_compose(
    tmp_path: Path, override: dict[str, Any], words: str
) -> None:
    project = Project(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    project.choose(data="folder", override=override)
    with pytest.raises(ConfigError) as raised:
        compose_config(ROOT / "conf", tmp_path / "params.yaml")
    assert next(iter(override)) in str(raised.value)
    assert words.replace(", ", "") in str(raised.value).replace(", ", "").replace("'", "")


# --- policies ---------------------------------------------------------------------------------------------------------


def spoiled(folder: Path, good: int, bad: int) -> Path:
    folder_of(folder, {"a": good // 2, "b": good - good // 2})
    for number in range(bad):
        (folder / "a" / f"bad {number:02d}.png").write_bytes(b"no image")
    return folder


@pytest.mark.parametrize(("limit", "bad"), [(0.25, 3), (3, 3), (None, 15)])
def test_as_many_rejected_images_as_are_allowed_are_left_out(
    quick: Project, tmp_path: Path, limit: float | None, bad: int
) -> None:
    prepare(quick, spoiled(tmp_path / "images", 9, bad), {"data.checks.max_rejected": limit})
    assert len(samples(quick)) == 9
    assert len(table(quick, "rejected")) == bad


@pytest.mark.parametrize(
    ("limit", "bad", "words"),
    [
        (0.2, 3, "at most 0.2 of all images may be unusable, got 3 of 12"),
        (2, 3, "at most 2 may be unusable, got 3 of 12"),
        (0, 1, "at most 0 may be unusable, got 1 of 10"),
        (0.1, 12, "at most 0.1 of all images may be unusable, got 12 of 21"),
    ],
)
def test_more_rejected_images_are_an_error_that_lists_the_first_ten(
    quick: Project, tmp_path: Path, limit: float, bad: int, words: str
) -> None:
    printed = refusal(
        *(quick, spoiled(tmp_path / "images", 9, bad), {"data.checks.max_rejected": limit}),
        lines=1 + min(bad, 10) + (bad > 10),
    )
    head, *listed = printed.splitlines()
    assert f"data.checks.max_rejected: {words}" in head
    expected = [f"  a/bad {number:02d}.png: wrong format (looks like text)" for number in range(min(bad, 10))]
    assert listed == expected + (["  and 2 more"] if bad > 10 else [])


def test_a_folder_without_one_usable_image_is_refused_whatever_the_limit(quick: Project, tmp_path: Path) -> None:
    printed = refusal(quick, spoiled(tmp_path / "images", 0, 3), {"data.checks.max_rejected": None}, lines=4)
    assert "none of 3 images can be used" in printed


def test_max_pixels_and_min_side_say_what_is_too_large_and_too_small(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, "b": 4})
    for name, height, width in (
        ("at.png", 50, 60),
        ("above.png", 50, 61),
        ("below.png", 49, 39),
        ("least.png", 40, 70),
    ):
        image = Image.fromarray(texture(len(name) + width)).resize((width, height))
        save(folder / "a" / name, np.asarray(image))
    limits = {"data.checks.max_pixels": 3000, "data.checks.min_side": 40, "data.checks.max_rejected": None}
    prepare(quick, folder, limits)
    assert {row["path"]: row["reason"] for row in table(quick, "rejected")} == {
        "a/above.png": "too large",
        "a/below.png": "too small",
    }


def test_an_empty_class_is_left_out_where_that_is_chosen(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, "b": 0, "c": 4})
    (folder / "broken").mkdir()
    (folder / "broken" / "one.png").write_bytes(b"no image")
    printed = prepare(quick, folder, {"data.empty_class": "leave_out", "data.checks.max_rejected": None})
    assert json.loads((quick.root / "data" / "prepared" / "classes.json").read_text()) == ["a", "c"]
    labels = {row["class"]: row["label"] for row in samples(quick).values()}
    assert labels == {"a": "0", "c": "1"}
    for name in ("b", "broken"):
        assert f"class {name!r} has no usable image and is left out" in printed


def test_a_class_that_is_missing_from_a_split_of_the_source_is_said(quick: Project, tmp_path: Path) -> None:
    layout = {"train/a": 5, "train/b": 5, "val/a": 2, "val/b": 2, "test/a": 3}
    printed = prepare(quick, folder_of(tmp_path / "images", layout))
    assert "class 'b' has 7 images, but none in test" in printed


def test_classes_of_very_different_sizes_are_said(quick: Project, tmp_path: Path) -> None:
    printed = prepare(quick, folder_of(tmp_path / "images", {"a": 30, "b": 5}))
    assert "class 'a' has 30 images and 'b' 5" in printed


# --- duplicates -------------------------------------------------------------------------------------------------------


def versions(pixels: Pixels) -> dict[str, Pixels]:
    """The same image again: equal, brighter, larger, softer."""
    image = Image.fromarray(pixels)
    return {
        "equal": pixels,
        "brighter": np.clip(pixels.astype(int) + 15, 0, 255).astype(np.uint8),
        "larger": np.asarray(image.resize((120, 144), Image.Resampling.LANCZOS)),
        "softer": np.asarray(image.filter(ImageFilter.GaussianBlur(0.6))),
    }


@pytest.fixture
def conflicting(tmp_path: Path) -> Path:
    """Classes with 8 images; two of each are also in the other one, once with equal pixels and once nearly."""
    folder = folder_of(tmp_path / "images", {"a": 8, "b": 8})
    save(folder / "b" / "equal.bmp", texture(1))  # also a/000.png
    save(folder / "b" / "near.png", versions(texture(2))["brighter"])  # also a/001.png
    return folder


@pytest.mark.parametrize(
    ("policy", "left_out"),
    [
        ("keep", set()),
        ("drop_exact", {"a/000.png", "b/equal.bmp"}),
        ("drop", {"a/000.png", "b/equal.bmp", "a/001.png", "b/near.png"}),
    ],
)
def test_duplicates_with_two_labels_are_reported_and_kept_or_left_out_as_is_chosen(
    quick: Project, conflicting: Path, policy: str, left_out: set[str]
) -> None:
    printed = prepare(quick, conflicting, {"data.duplicates.conflicts": policy})
    assert {row["path"] for row in table(quick, "left_out")} == left_out
    assert len(samples(quick)) == 18 - len(left_out)
    assert not left_out & set(samples(quick))
    assert "groups of duplicates with more than one label: 2 (1 of equal pixels)" in printed
    assert groups_of(quick, "exact") == [{"a/000.png", "b/equal.bmp"}]
    assert groups_of(quick, "near") == [{"a/001.png", "b/near.png"}]


def test_a_source_of_nothing_but_conflicts_is_refused(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 5})
    shutil.copytree(folder / "a", folder / "b")
    printed = refusal(quick, folder)
    assert "data.duplicates.conflicts: drop_exact leaves none of 10 images" in printed


def test_without_the_search_for_near_duplicates_only_equal_images_are_found(quick: Project, conflicting: Path) -> None:
    printed = prepare(quick, conflicting, {"data.duplicates.near": False, "data.duplicates.conflicts": "drop"})
    assert {row["path"] for row in table(quick, "left_out")} == {"a/000.png", "b/equal.bmp"}
    assert groups_of(quick, "near") == []
    assert "groups of duplicates with more than one label: 1" in printed


def test_duplicates_never_stand_in_two_of_the_splits_that_are_drawn(quick: Project, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for number in range(14):
        original = texture(number)
        for version, pixels in {"original": original, **versions(original)}.items():
            save(folder / "ab"[number % 2] / f"{number} {version}.png", pixels)
    prepare(quick, folder)
    split = splits_of(quick)
    assert len(split) == 70
    together: dict[str, set[str]] = {}
    for path, value in split.items():
        together.setdefault(path.split()[0], set()).add(value)
    assert {number: values for number, values in together.items() if len(values) > 1} == {}
    assert len(together) == 14
    assert set(split.values()) == set(SPLITS)
    assert sorted(len(group) for group in groups_of(quick, "near")) == [5] * 14


def test_a_class_whose_images_are_all_the_same_is_refused_with_its_counts(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 5})
    for number in range(6):
        save(folder / "b" / f"{number}.png", texture(40 + number // 3))
    printed = refusal(quick, folder)
    assert "class 'b' has 6 images in 2 groups of images that belong together" in printed


# --- what DVC sees ----------------------------------------------------------------------------------------------------


def scan(project: Project) -> bytes:
    project.run("python", "-m", *SCAN)
    return (project.root / "data" / "scanned.jsonl").read_bytes()


def test_the_scan_changes_with_each_change_of_the_images_and_with_nothing_else(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, os.fsdecode(b"b \xff"): 4})
    configure(quick, folder)
    image = folder / "a" / "000.png"
    first = scan(quick)
    assert len(first.splitlines()) == 1 + 8
    assert scan(quick) == first
    os.utime(image)
    (folder / "a" / "notes.txt").write_text("no image")
    assert scan(quick) == first
    moved = tmp_path / "moved"
    folder.rename(moved)
    configure(quick, moved)
    assert scan(quick) == first  # it does not matter where the folder lies
    moved.rename(folder)
    configure(quick, folder)
    (quick.root / "data" / ".known.json").write_text('{"cut off')
    assert scan(quick) == first
    seen = {first}
    content, status = image.read_bytes(), image.stat()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))  # the same size at the same time
    seen.add(scan(quick))
    image.write_bytes(content)
    assert scan(quick) in seen
    image.rename(folder / "a" / "renamed.png")
    seen.add(scan(quick))
    (folder / "a" / "renamed.png").unlink()
    seen.add(scan(quick))
    save(folder / "a" / "added.png", texture(70))
    seen.add(scan(quick))
    assert len(seen) == 5


def test_dvc_prepares_anew_what_has_changed_and_not_what_was_only_touched(fresh: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, "b": 4})
    size = {"data.image_size": [hostile.HEIGHT, hostile.WIDTH]}
    fresh.choose(data="folder", override={"data.path": str(folder), **size})
    assert fresh.repro("prepare") == ["compose", "scan", "prepare"]
    for path in folder.rglob("*.png"):
        path.touch()
    assert fresh.repro("prepare") == ["scan"]
    pixels = texture(123)
    save(folder / "a" / "000.png", pixels)
    assert fresh.repro("prepare") == ["scan", "prepare"]
    np.testing.assert_array_equal(stored(fresh)["a/000.png"], pixels)


# --- when it is cut off -----------------------------------------------------------------------------------------------


# The larger the images, the fewer a process takes at once, and the sooner all are at work.
LARGE = {"data.image_size": [256, 256]}


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A folder that takes some half a minute to read, and next to no room."""
    folder, noise = tmp_path / "images", np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    large = save(tmp_path / "large.png", noise)
    folder_of(folder, {"a": 4, "b": 4})
    for name in "ab":
        for number in range(300):
            (folder / name / f"slow {number}.png").symlink_to(large)
    return folder


def speed_up(folder: Path) -> None:
    for path in folder.rglob("slow *"):
        path.unlink()


@contextmanager
def running(
    project: Project, *command: str, status: int, seconds: float = 1
) -> Iterator[tuple[psutil.Process, list[psutil.Process]]]:
    """A module in a group of its own: the process of prepare and those that decode, once they have used some time."""
    with (project.root / "printed.txt").open("wb") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=project.root,
            env=project.environment(),
            stdout=file,
            stderr=file,
            start_new_session=True,
            preexec_fn=hear_interrupts,
        )
        try:
            yield wait_for_decoders(started.pid, seconds)
            started.wait(timeout=30)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)
            started.wait()
    assert started.returncode == status


def wait_for_decoders(pid: int, seconds: float) -> tuple[psutil.Process, list[psutil.Process]]:
    for _ in range(1200):
        for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                if process.cmdline()[1:3] == ["-m", PREPARE[0]]:
                    children = process.children(recursive=True)
                    decoders = [child for child in children if "--multiprocessing-fork" in child.cmdline()]
                    if decoders and all(child.cpu_times().user > seconds for child in decoders):
                        return process, children
        time.sleep(0.05)
    raise AssertionError("no image was decoded within a minute")


def printed_by(project: Project) -> str:
    return (project.root / "printed.txt").read_text("utf-8")


def gone(processes: list[psutil.Process]) -> bool:
    """Whether they end. Not for a child of this process, whose exit status would be lost."""
    return not psutil.wait_procs(processes, timeout=10)[1]


def test_ctrl_c_ends_prepare_in_one_line_and_leaves_nothing(quick: Project, slow: Path) -> None:
    configure(quick, slow)  # small images, of which a process takes many at once
    with running(quick, *PREPARE, status=130) as (process, children):
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert gone(children)
    assert printed_by(quick) == "interrupted\n"
    assert not list((quick.root / "data").glob("prepared*"))


def test_ctrl_c_while_the_processes_start_is_as_quiet(quick: Project, slow: Path) -> None:
    configure(quick, slow, LARGE)
    with running(quick, *PREPARE, status=130, seconds=0) as (process, children):
        time.sleep(0.15)
        os.killpg(process.pid, signal.SIGINT)
        assert gone(children)
    assert printed_by(quick) == "interrupted\n"
    assert not list((quick.root / "data").glob("prepared*"))


def test_a_killed_prepare_leaves_no_process_and_the_next_repro_succeeds(fresh: Project, slow: Path) -> None:
    fresh.choose(data="folder", override={"data.path": str(slow), **LARGE})
    with running(fresh, "dvc", "repro", "prepare", status=255, seconds=1.5) as (process, children):
        process.kill()
        assert gone(children)
    assert not (fresh.root / "data" / "prepared").exists()
    speed_up(slow)
    assert fresh.repro("prepare") == ["scan", "prepare"]
    assert len(samples(fresh)) == 8
    assert [path.name for path in (fresh.root / "data").glob("prepared*")] == ["prepared"]


def test_a_decoder_that_dies_is_an_error_that_names_what_it_read(quick: Project, slow: Path) -> None:
    configure(quick, slow, LARGE)
    with running(quick, *PREPARE, status=2) as (_, children):
        busy = max(children, key=lambda child: child.cpu_times().user)
        busy.kill()
        assert gone(children)
    printed = printed_by(quick)
    assert printed.startswith("error: data: a process that decodes images ended without a word")
    assert str(slow) in printed
    assert "Traceback" not in printed
    assert not list((quick.root / "data").glob("prepared*"))


def test_a_disk_without_room_is_noticed_before_the_start(quick: Project, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "images", {"a": 4, "b": 4})
    printed = refusal(quick, folder, {"data.image_size": [1_000_000, 1_000_000]}, lines=None)
    assert "the disk must have 45,776,4" in printed  # 2 times 8 images of 3e12 bytes, in MiB
    assert "8 images of 1000000x1000000x3" in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("kilobytes", [1, 100])
def test_a_disk_that_is_full_all_the_same_ends_in_one_line(quick: Project, tmp_path: Path, kilobytes: int) -> None:
    """A limit on the size of a file stands for it: of the pixels, and of a picture of the report."""
    folder = folder_of(tmp_path / "images", {"a": 6, "b": 6})
    configure(quick, folder)
    command = f"ulimit -f {kilobytes}; exec python -m {' '.join(PREPARE)}"
    printed = quick.run("bash", "-c", command, status=2)
    assert printed.startswith("error: ")
    assert "the disk is full" in printed
    assert "Traceback" not in printed
    assert not list((quick.root / "data").glob("prepared*"))
    quick.run("python", "-m", *PREPARE)
    assert len(samples(quick)) == 12


# --- the other sources ------------------------------------------------------------------------------------------------


def idx_file(path: Path, array: npt.NDArray[np.uint8]) -> None:
    """The format of MNIST: magic number 0, 0, 8 (uint8), dimensions; sizes; values."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()))


def make_idx(folder: Path, images: Pixels, labels: list[int]) -> dict[str, Any]:
    for name, part in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        idx_file(folder / f"{name}-images-idx3-ubyte.gz", images[part, ..., 0])
        idx_file(folder / f"{name}-labels-idx1-ubyte.gz", np.array(labels[part], np.uint8))
    return {"data.path": str(folder), "data.channels": 1}


def make_cifar(folder: Path, images: Pixels, labels: list[int]) -> dict[str, Any]:
    records = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(labels, images, strict=True)]
    for number in range(5):
        (folder / f"data_batch_{number + 1}.bin").write_bytes(b"".join(records[number * 8 : number * 8 + 8]))
    (folder / "test_batch.bin").write_bytes(b"".join(records[40:]))
    (folder / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n")
    return {"data.path": str(folder), "data.empty_class": "leave_out"}


def make_npz(folder: Path, images: Pixels, labels: list[int]) -> dict[str, Any]:
    parts = {"train": slice(0, 40), "test": slice(40, 60)}
    arrays = {f"{name}_images": images[part] for name, part in parts.items()}
    np.savez_compressed(
        folder / "a.npz",
        **arrays,
        **{f"{name}_labels": np.array(labels[part])[:, None] for name, part in parts.items()},
    )
    return {"data.path": str(folder / "a.npz")}


def make_parquet(folder: Path, images: Pixels, labels: list[int]) -> dict[str, Any]:
    contents = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        contents.append({"bytes": buffer.getvalue(), "path": None})
    for name, part in (("train", slice(0, 40)), ("test", slice(40, 60))):
        table = pa.table({"image": contents[part], "label": labels[part]})
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return {"data.path": str(folder)}


def make_csv(folder: Path, images: Pixels, labels: list[int]) -> dict[str, Any]:
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "group"))
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            Image.fromarray(image).save(folder / f"{number:02d}.png")
            rows.writerow((f"{number:02d}.png", label, f"patient {number // 3}"))
    return {"data.path": str(folder / "labels.csv")}


MAKERS = {"idx": make_idx, "cifar": make_cifar, "npz": make_npz, "parquet": make_parquet, "csv": make_csv}


@pytest.mark.parametrize("source", MAKERS)
def test_every_source_is_scanned_and_prepared_with_its_pixels_labels_and_splits(
    quick: Project, tmp_path: Path, source: str
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    labels = [number % 4 for number in range(60)]
    override = {"data.image_size": [32, 32], **MAKERS[source](folder, images, labels)}
    quick.choose(data=source, override=override)
    config = compose_config(quick.root / "conf", quick.root / "params.yaml")
    write_sections(quick.root / "config.yaml", config)
    quick.run("python", "-m", *SCAN)
    listed = [json.loads(line)[0] for line in (quick.root / "data" / "scanned.jsonl").read_text().splitlines()[1:]]
    assert len(listed) == {"idx": 4, "cifar": 7, "npz": 1, "parquet": 2, "csv": 61}[source]
    quick.run("python", "-m", *PREPARE)
    rows = list(samples(quick).values())
    # Files of Parquet come in the order of their names, test before train.
    order = [*range(40, 60), *range(40)] if source == "parquet" else [*range(60)]
    assert [int(row["label"]) for row in rows] == [labels[number] for number in order]
    pixels = np.stack(list(stored(quick).values()))
    np.testing.assert_array_equal(pixels, images[order][..., :1] if source == "idx" else images[order])
    splits = [row["split"] for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]
    if source == "csv":
        parts = {(row["group"], row["split"]) for row in rows}
        assert len(parts) == len({group for group, _ in parts}) == 20
    else:
        assert splits[40:] == ["test"] * 20
        assert set(splits[:40]) == {"train", "validation"}
