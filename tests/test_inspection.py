"""The data report: its numbers, its tables, its page and its pictures."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import statistics
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from imagewright.data.findings import RECORD, DuplicateGroup, Findings
from imagewright.data.sources import SPLITS, Listing, Refused, Sample
from imagewright.inspection.columns import columns_of, examples
from imagewright.inspection.report import write_data_report
from imagewright.inspection.summary import summarize
from imagewright.names import drawable, fitted, shown
from imagewright.paper import thumbnails

Images = npt.NDArray[np.uint8]

HOSTILE = (
    "<script>alert(1)</script>",
    "a\"b<c>&'",
    # No formula: matplotlib would refuse it.
    "$\\frac$ a_b",
    "猫と犬 नमस्ते ไทย",
    "😀",
    "שלום עולם",
    "w" * 300,
    "bad\udcff\x00\n\u202ename",
)


def made(
    labels: Sequence[int],
    splits: Sequence[str],
    classes: Sequence[str],
    *,
    paths: Sequence[str] = (),
    sizes: Sequence[tuple[int, int]] = ((20, 30),),
    formats: Sequence[bytes] = (b"PNG",),
    modes: Sequence[bytes] = (b"RGB",),
    groups: Sequence[str | None] = (None,),
    shape: tuple[int, int, int] = (6, 5, 3),
    refused: Mapping[int, Refused] | None = None,
    left_out: Mapping[int, str] | None = None,
    duplicates: Sequence[DuplicateGroup] = (),
    **rest: Any,
) -> Findings:
    """Findings on random images; what is shorter than the images is repeated."""
    number, refused, left_out = len(labels), refused or {}, left_out or {}
    images = np.random.default_rng(0).integers(0, 256, (number, *shape), dtype=np.uint8)
    for group in duplicates:
        images[list(group.members)] = images[group.members[0]]
    records = np.zeros(number, RECORD)
    for row, pixels in enumerate(images):
        if row in refused:
            continue
        height, width = sizes[row % len(sizes)]
        records[row] = (
            hashlib.sha256(pixels.tobytes()).digest(),
            0,
            height,
            width,
            formats[row % len(formats)],
            modes[row % len(modes)],
            row % 4 == 0,
            pixels.mean(),
        )
    samples = [
        Sample(paths[row] if paths else f"{label}/{row}.png", label, None, groups[row % len(groups)])
        for row, label in enumerate(labels)
    ]
    placed = ["" if row in refused or row in left_out else split for row, split in enumerate(splits)]

    def pixels_of(rows: Sequence[int]) -> Images:
        assert not {*rows} & {*refused}
        return images[list(rows)]

    return Findings(
        listing=Listing(classes, samples, rest.pop("ignored", {}), rest.pop("unreadable", {}), rest.pop("remarks", ())),
        records=records,
        notes=rest.pop("notes", {}),
        refused=refused,
        left_out=left_out,
        duplicates=duplicates,
        splits=np.array(placed, dtype=np.str_),
        warnings=rest.pop("warnings", ()),
        pixels=pixels_of,
    )


def everything() -> Findings:
    """All that can be found, with every hostile name."""
    draw = np.random.default_rng(3)
    labels = draw.integers(0, len(HOSTILE), 240).tolist()
    return made(
        labels,
        draw.choice(SPLITS, 240).tolist(),
        [*HOSTILE, "nobody"],
        paths=[f"{HOSTILE[label]}/a\"b<c>&'{row}.png" for row, label in enumerate(labels)],
        sizes=[(height, width) for height in (30, 40, 700) for width in (20, 41, 60, 90, 1000)],
        formats=[b"PNG", b"JPEG", b"PNG", b"GIF"],
        modes=[b"RGB", b"L", b"I;16"],
        groups=[*([None, "a", "b", "a", "c"] * 47), "d", *([None] * 4)],
        refused={7: Refused("broken", "no <b>end</b>\udcfe\n"), 3: Refused("HTML", "<!doctype html>")},
        left_out={11: "conflict", 12: "conflict", 90: "empty class"},
        duplicates=[
            *(DuplicateGroup("exact", (row, row + 1)) for row in range(20, 40, 2)),
            DuplicateGroup("near", (11, 12)),
            DuplicateGroup("exact", tuple(range(100, 120))),
            DuplicateGroup("near", (20, 21, 22)),
        ],
        notes={
            1: "turned by its orientation (6)",
            5: "first frame of an animation; turned by its orientation (3)",
            2: "values from -0.5 to 1.5e+03 scaled <i>",
        },
        warnings=["<b>warning</b>"],
        remarks=["remark & more"],
        ignored={"hidden": 2, "<.txt>": 5},
        unreadable={"gone\udcff<u>.png": Refused("missing", "no such file")},
    )


CASES: dict[str, Callable[[], Findings]] = {
    "everything": everything,
    "nothing wrong": lambda: made([0, 1] * 30, ["train", "train", "test", "validation"] * 15, ["cat", "dog"]),
    "a class without images": lambda: made([0, 2] * 10, ["train"] * 20, ["cat", "none", "dog"]),
    "one split": lambda: made([0, 1] * 10, ["test"] * 20, ["cat", "dog"]),
    "one image": lambda: made([0], ["train"], ["cat"]),
    "one channel": lambda: made([0, 1] * 10, ["train", "test"] * 10, ["0", "1"], shape=(8, 8, 1), formats=[b"array"]),
    "large images": lambda: made([0, 1] * 6, ["train"] * 12, ["0", "1"], shape=(150, 300, 3)),
    "200 classes": lambda: made(
        [row % 200 for row in range(500)],
        ["train", "validation", "test"] * 166 + ["train"] * 2,
        [*map(str, range(200))],
    ),
    "many sizes, close": lambda: made(
        [0, 1] * 50, ["train"] * 100, ["0", "1"], sizes=[(100 + row % 13, 90 + row % 7) for row in range(100)]
    ),
    "no images at all": lambda: made([], [], ["cat", "dog"]),
    "nothing but refused": lambda: made(
        [0, 1], ["train"] * 2, ["0", "1"], refused={0: Refused("empty", ""), 1: Refused("empty", "")}
    ),
}


@dataclass(frozen=True)
class Written:
    """A report on disk."""

    folder: Path
    findings: Findings
    summary: dict[str, Any]
    calls: list[int] = field(default_factory=list)


@pytest.fixture(scope="module", params=CASES)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    findings = CASES[request.param]()
    calls: list[int] = []

    def counted(rows: Sequence[int]) -> Images:
        calls.append(len(rows))
        return findings.pixels(rows)

    folder = tmp_path_factory.mktemp("report") / "made" / "data"
    summary = write_data_report(folder, replace(findings, pixels=counted), title="Data <of> & \udcff", dpi=60)
    return Written(folder, findings, summary, calls)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_summary_json_is_what_is_returned_and_strict_json(written: Written) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = (written.folder / "summary.json").read_text("utf-8")
    assert json.loads(text, parse_constant=refuse) == written.summary


def test_counts_of_images_classes_and_splits_are_those_of_a_plain_count(written: Written) -> None:
    findings, summary = written.findings, written.summary
    samples, splits = findings.listing.samples, findings.splits.tolist()
    used = [row for row, split in enumerate(splits) if split]
    assert summary["images"] == {
        "listed": len(samples) + len(findings.listing.refused),
        "used": len(used),
        "refused": len(findings.refused) + len(findings.listing.refused),
        "left_out": len(findings.left_out),
    }
    assert summary["images"]["listed"] == sum(summary["images"][kind] for kind in ("used", "refused", "left_out"))
    assert summary["splits"] == {split: splits.count(split) for split in SPLITS}
    cells = Counter((sample.label, split) for sample, split in zip(samples, splits, strict=True))
    for label, name in enumerate(findings.listing.classes):
        total = sum(cells[label, split] for split in SPLITS)
        assert summary["classes"][label] == {
            "label": label,
            "name": shown(name),
            **{split: cells[label, split] for split in SPLITS},
            "used": total,
            "share": pytest.approx(total / max(len(used), 1)),
            "refused": sum(samples[row].label == label for row in findings.refused),
            "left_out": sum(samples[row].label == label for row in findings.left_out),
        }
    totals = [row["used"] for row in summary["classes"]]
    assert summary["imbalance"]["largest"]["images"] == max(totals)
    assert summary["imbalance"]["smallest"]["images"] == min(totals)
    assert summary["imbalance"]["ratio"] == (pytest.approx(max(totals) / min(totals)) if min(totals) else None)
    for end in ("largest", "smallest"):
        assert summary["classes"][summary["imbalance"][end]["label"]]["name"] == summary["imbalance"][end]["name"]


def test_refused_left_out_ignored_and_notes_are_counted_by_their_words(written: Written) -> None:
    findings, summary = written.findings, written.summary
    reasons = [why.reason for why in (*findings.refused.values(), *findings.listing.refused.values())]
    assert summary["refused"] == Counter(reasons)
    assert summary["left_out"] == Counter(findings.left_out.values())
    assert summary["ignored"] == findings.listing.ignored
    assert summary["warnings"] == list(findings.warnings)
    assert summary["remarks"] == list(findings.listing.remarks)
    notes = [note for words in findings.notes.values() for note in words.split("; ")]
    assert sum(row["images"] for row in summary["notes"]) == len(notes)
    assert all(row["example"]["note"] in notes for row in summary["notes"])


def test_notes_that_differ_in_numbers_only_are_one_kind() -> None:
    findings = everything()
    kinds = {row["kind"]: row["images"] for row in summarize(findings, columns_of(findings))["notes"]}
    assert kinds == {
        "turned by its orientation (…)": 2,
        "first frame of an animation": 1,
        "values from … to … scaled <i>": 1,
    }


def test_sizes_formats_modes_and_brightness_are_those_of_the_images_in_use(written: Written) -> None:
    findings, summary = written.findings, written.summary
    used = [row for row, split in enumerate(findings.splits) if split]
    if not used:
        assert summary["sizes"] is summary["brightness"] is summary["stored"] is None
        assert summary["formats"] == summary["modes"] == {}
        return
    heights, widths = ([int(findings.records[side][row]) for row in used] for side in ("height", "width"))
    for side, values in (("height", heights), ("width", widths)):
        median = statistics.median(values)
        assert summary["sizes"][side] == {"min": min(values), "median": median, "max": max(values)}
    counts = Counter(zip(heights, widths, strict=True))
    assert summary["sizes"]["distinct"] == len(counts)
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:10]
    listed = [((row["height"], row["width"]), row["images"]) for row in summary["sizes"]["most_frequent"]]
    assert listed == expected
    for key, column in (("formats", "format"), ("modes", "mode")):
        assert summary[key] == Counter(bytes(findings.records[column][row]).decode() for row in used)
    assert summary["grey"] == sum(bool(findings.records["grey"][row]) for row in used)
    assert list(summary["stored"].values()) == list(findings.pixels(used[:1]).shape[1:])

    means = [float(findings.records["brightness"][row]) for row in used]
    found = summary["brightness"]
    assert found["mean"] == pytest.approx(statistics.fmean(means))
    assert found["std"] == pytest.approx(statistics.pstdev(means), abs=1e-6)
    for percent, value in found["percentiles"].items():
        assert value == pytest.approx(np.quantile(means, int(percent) / 100))
    for split in SPLITS:
        own = [value for value, row in zip(means, used, strict=True) if findings.splits[row] == split]
        assert found["mean_by_split"].get(split) == (pytest.approx(statistics.fmean(own)) if own else None)
    bright = {shown(findings.listing.samples[row].path): value for row, value in zip(used, means, strict=True)}
    assert [row["brightness"] for row in found["darkest"]] == sorted(means)[:5]
    assert [row["brightness"] for row in found["brightest"]] == sorted(means)[:-6:-1]
    assert all(bright[row["path"]] == row["brightness"] for row in (*found["darkest"], *found["brightest"]))


def test_duplicates_conflicts_and_shared_images_are_those_of_a_plain_count(written: Written) -> None:
    findings, summary = written.findings, written.summary
    samples = findings.listing.samples
    for kind in ("exact", "near"):
        own = [group for group in findings.duplicates if group.kind == kind]
        assert summary["duplicates"][kind] == {
            "groups": len(own),
            "images": sum(len(group.members) for group in own),
        }
    conflicts = [
        (number, group)
        for number, group in enumerate(findings.duplicates, start=1)
        if len({samples[row].label for row in group.members}) > 1
    ]
    assert [(found["group"], found["kind"]) for found in summary["conflicts"]] == [
        (number, group.kind) for number, group in conflicts
    ]
    for found, (_, group) in zip(summary["conflicts"], conflicts, strict=True):
        assert found["members"] == [
            {
                "path": shown(samples[row].path),
                "label": samples[row].label,
                "class": shown(findings.listing.classes[samples[row].label]),
            }
            for row in group.members
        ]
    expected = []
    for pair in combinations(SPLITS, 2):
        both = {
            number: group
            for number, group in enumerate(findings.duplicates, start=1)
            if {*pair} <= {findings.splits[row] for row in group.members}
        }
        if both:
            images = {row for group in both.values() for row in group.members if findings.splits[row] in pair}
            kinds = Counter(group.kind for group in both.values())
            expected.append(
                {
                    "splits": list(pair),
                    "groups": len(both),
                    "exact": kinds["exact"],
                    "near": kinds["near"],
                    "images": len(images),
                    "group_numbers": list(both),
                }
            )
    assert summary["shared"] == expected


def test_groups_of_the_source_are_counted_if_there_are_any(written: Written) -> None:
    findings = written.findings
    sizes = Counter(sample.group for sample in findings.listing.samples if sample.group is not None)
    if not sizes:
        assert written.summary["groups"] is None
        return
    splits: dict[str, set[str]] = {}
    for sample, split in zip(findings.listing.samples, findings.splits.tolist(), strict=True):
        if sample.group is not None and split:
            splits.setdefault(sample.group, set()).add(split)
    assert written.summary["groups"] == {
        "groups": len(sizes),
        "images": sum(sizes.values()),
        "largest": max(sizes.values()),
        "across_splits": sum(len(seen) > 1 for seen in splits.values()),
    }


def test_the_case_with_everything_has_conflicts_shared_images_and_groups_across_splits() -> None:
    findings = everything()
    summary = summarize(findings, columns_of(findings))
    assert summary["conflicts"]
    assert len(summary["shared"]) == 3
    assert summary["groups"]["across_splits"] == 3


def test_numbers_take_less_than_a_hundred_bytes_an_image() -> None:
    number = 50_000
    records = np.zeros(number, RECORD)
    records["height"] = np.arange(number) % 700
    findings = Findings(
        Listing(["0", "1"], [Sample(str(row), row % 2) for row in range(number)]),
        records,
        {},
        {},
        {},
        [],
        np.resize(np.array(SPLITS), number),
        [],
        lambda rows: np.zeros((len(rows), 4, 4, 1), np.uint8),
    )
    tracemalloc.start()
    summarize(findings, columns_of(findings))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100 * number


# --- tables -----------------------------------------------------------------------------------------------------------


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_tables_have_every_refused_and_left_out_image_and_every_duplicate(written: Written) -> None:
    findings = written.findings
    samples, classes = findings.listing.samples, findings.listing.classes
    refused = [*findings.listing.refused.items()]
    refused += [(samples[row].path, findings.refused[row]) for row in sorted(findings.refused)]
    assert table(written.folder / "rejected.csv") == [
        ["path", "reason", "detail"],
        *([shown(path), why.reason, shown(why.detail)] for path, why in refused),
    ]
    assert table(written.folder / "left_out.csv") == [
        ["path", "class", "policy"],
        *(
            [shown(samples[row].path), shown(classes[samples[row].label]), findings.left_out[row]]
            for row in sorted(findings.left_out)
        ),
    ]
    assert table(written.folder / "duplicates.csv") == [
        ["group", "kind", "path", "class", "split", "sha256"],
        *(
            [
                str(number),
                group.kind,
                shown(samples[row].path),
                shown(classes[samples[row].label]),
                str(findings.splits[row]),
                hashlib.sha256(findings.pixels([row])[0].tobytes()).hexdigest(),
            ]
            for number, group in enumerate(findings.duplicates, start=1)
            for row in group.members
        ),
    ]


# --- page -------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of(folder: Path) -> Page:
    return Page((folder / "index.html").read_text("utf-8"))


def test_the_page_is_well_formed_and_every_name_on_it_is_text(written: Written) -> None:
    page = page_of(written.folder)
    assert page.open == []
    assert not {*page.tags} & {"script", "u", "i", "c", "iframe", "object"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "Data <of> & \\xff" in page.words
    for name in (*written.findings.listing.classes, *written.findings.warnings, *written.findings.listing.remarks):
        assert shown(name) in page.words


def test_links_of_the_page_lead_to_files_beside_it_and_to_places_on_it(written: Written) -> None:
    page = page_of(written.folder)
    places = {value for name, value in page.attributes if name == "id"}
    files = {path.name for path in written.folder.iterdir()}
    links = [value for name, value in page.attributes if name in {"src", "href"}]
    for link in links:
        assert link.removeprefix("#") in places if link.startswith("#") else link in files
    # All that is written can be reached, and no address leads out of the folder.
    assert files - {"index.html"} <= {*links} | {"rejected.csv", "left_out.csv", "duplicates.csv"}
    assert "://" not in (written.folder / "index.html").read_text("utf-8")


def test_the_page_shows_at_most_a_hundred_refused_images_and_groups_and_says_how_many_there_are(
    tmp_path: Path,
) -> None:
    findings = made(
        [0] * 600,
        ["train"] * 600,
        ["0"],
        refused={row: Refused("empty", f"detail {row}") for row in range(150)},
        left_out=dict.fromkeys(range(150, 280), "conflict"),
        duplicates=[DuplicateGroup("exact", (row, row + 1)) for row in range(300, 520, 2)]
        + [DuplicateGroup("near", tuple(range(530, 560)))],
    )
    write_data_report(tmp_path, findings, title="many", dpi=40)
    text = " ".join(page_of(tmp_path).words)
    assert len(re.findall(r"detail \d+", text)) == 100
    assert "The first 100 of 150; all in" in text
    assert "The first 100 of 130; all in" in text
    assert "The first 100 of 111 groups" in text
    assert len(re.findall(r"Group \d+", text)) == 100
    assert len(table(tmp_path / "rejected.csv")) == 151


def test_groups_with_different_labels_stand_first_and_long_groups_are_cut(tmp_path: Path) -> None:
    findings = made(
        [0] * 40 + [1] * 10,
        ["train"] * 45 + ["test"] * 5,
        ["cat", "dog"],
        duplicates=[
            DuplicateGroup("exact", tuple(range(30))),
            DuplicateGroup("exact", (43, 46)),
            DuplicateGroup("near", (38, 42)),
        ],
    )
    assert columns_of(findings).duplicates.by_concern() == [2, 1, 0]
    write_data_report(tmp_path, findings, title="cut", dpi=40)
    text = "".join(page_of(tmp_path).words)
    assert re.findall(r"Group (\d)", text) == ["3", "2", "1"]
    assert "Group 3, near, labels differ" in text
    assert "Group 2, exact, in different splits" in text
    assert "Group 1, exact, 18 more" in text


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_are_valid_of_sensible_size_and_those_that_there_is_something_to_draw_for(written: Written) -> None:
    findings = written.findings
    sheets = -(-min(len(findings.listing.classes), 200) // 20)
    expected = {"counts.png"}
    if written.summary["images"]["used"]:
        expected |= {"sizes.png", "modes.png", "brightness.png"}
        expected |= {f"examples-{sheet}.png" for sheet in range(1, sheets + 1)}
    if findings.duplicates:
        expected |= {"duplicates.png"}
    assert {path.name for path in written.folder.glob("*.png")} == expected
    for path in written.folder.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            width, height = picture.size
            assert 150 <= width <= 1200
            assert 50 <= height <= 1600
            # Something is drawn on the white paper.
            assert len(picture.convert("L").getcolors() or ()) > 2


def test_files_lie_in_the_folder_alone_and_their_names_say_nothing_of_classes(written: Written) -> None:
    assert [path.name for path in written.folder.parent.iterdir()] == ["data"]
    assert [path.name for path in written.folder.parent.parent.iterdir()] == ["made"]
    for path in written.folder.rglob("*"):
        assert path.is_file()
        assert re.fullmatch(r"[a-z_]+(-\d+)?\.(png|csv|json|html)", path.name)


def test_pixels_are_asked_for_few_rows_at_a_time(written: Written) -> None:
    assert all(1 <= rows <= 8 for rows in written.calls)
    assert sum(written.calls) <= 1 + 16 + 8 * len(written.findings.listing.classes) + 12 * 6


def test_pictures_of_an_earlier_report_are_removed_and_other_files_are_kept(tmp_path: Path) -> None:
    for name in ("examples-7.png", "duplicates.png", "mine.png", "examples.txt"):
        (tmp_path / name).write_bytes(b"old")
    write_data_report(tmp_path, CASES["nothing wrong"](), title="again", dpi=40)
    names = {path.name for path in tmp_path.iterdir()}
    assert not {"examples-7.png", "duplicates.png"} & names
    assert {"mine.png", "examples.txt", "examples-1.png"} <= names


def test_the_same_findings_give_the_same_bytes(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        write_data_report(tmp_path / folder, everything(), title="same", dpi=40)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_shows_the_very_pixels_of_the_images(tmp_path: Path, channels: int) -> None:
    findings = made([0], ["train"], ["cat"], shape=(8, 8, channels))
    write_data_report(tmp_path, findings, title="pixels", dpi=110)
    expected = np.broadcast_to(findings.pixels([0])[0].repeat(12, axis=0).repeat(12, axis=1), (96, 96, 3))
    with Image.open(tmp_path / "examples-1.png") as picture:
        drawn = np.asarray(picture.convert("RGB"))
    corners = np.argwhere((drawn[:-95, :-95] == expected[0, 0]).all(axis=2)).tolist()
    found = [(y, x) for y, x in corners if np.array_equal(drawn[y : y + 96, x : x + 96], expected)]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [((300, 200), 100, 3), ((150, 150), 100, 2), ((100, 7), 40, 2), ((97, 55), 93, 1), ((400, 360), 20, 20)],
)
def test_large_images_are_shrunk_to_means_of_blocks(shape: tuple[int, int], side: int, expected: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    shrunk = thumbnails(images, side)
    assert shrunk.shape == (2, shape[0] // expected, shape[1] // expected, 3)
    for row, column in ((0, 0), (5, 2), (shrunk.shape[1] - 1, shrunk.shape[2] - 1)):
        block = images[1, row * expected : (row + 1) * expected, column * expected : (column + 1) * expected]
        np.testing.assert_array_equal(shrunk[1, row, column], np.floor(block.reshape(-1, 3).mean(axis=0)))


def test_examples_are_training_images_at_even_distances_or_others_if_there_are_none() -> None:
    splits = [SPLITS[row % 3] for row in range(90)] + ["test"] * 3
    findings = made([0, 1] * 45 + [2] * 3, splits, ["0", "1", "2", "none"], refused={0: Refused("empty", "")})
    columns = columns_of(findings)
    chosen = examples(columns, 4, 8)
    for label in (0, 1):
        own = [row for row in range(1, 90) if row % 2 == label and row % 3 == 0]
        assert len(chosen[label]) == len(set(chosen[label])) == 8
        assert set(chosen[label]) <= set(own)
        assert (chosen[label][0], chosen[label][-1]) == (own[0], own[-1])
    assert chosen[2:] == [[90, 91, 92], []]
    assert examples(columns, 2, 8) == chosen[:2]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("naïve Straße", "naïve Straße"),
        ("$a_b$ \\frac", "$a_b$ \\frac"),
        ("שלום", "שלום"),
        ("猫 cat", "\\u732b cat"),
        ("bad\udcff\n\u202e", "bad\\xff\\n\\u202e"),
    ],
)
def test_a_name_is_drawn_with_letters_of_the_font_and_escapes_for_the_rest(name: str, expected: str) -> None:
    assert drawable(name) == expected


def test_a_name_wider_than_its_place_is_cut_at_the_side_asked_for() -> None:
    def measure(text: str) -> float:
        return 2.0 * len(text)

    assert fitted("short", 10, measure) == "short"
    assert fitted("abcdefghij", 12, measure) == "abcde…"
    assert fitted("abcdefghij", 12, measure, end=True) == "…fghij"
    assert fitted("", 12, measure) == ""
    assert fitted("abc", 0, measure) == "a…"
    assert measure(fitted("x" * 10_000, 30, measure)) <= 30


# --- layers -----------------------------------------------------------------------------------------------------------


def test_the_report_imports_neither_torch_nor_evaluation_nor_pyplot() -> None:
    code = (
        "import sys, imagewright.inspection.report\n"
        "print([name for name in ('torch', 'imagewright.evaluation', 'matplotlib.pyplot') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
