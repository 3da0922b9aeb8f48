"""`imagewright predict`, compared with the plain network on pixels that the test knows."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import hostile
from conftest import Project
from imagewright.cli import predict
from imagewright.data.parallel import cores
from imagewright.evaluation import images as reading
from imagewright.evaluation.images import predict_images
from imagewright.models.saved import load_model
from imagewright.names import shown
from imagewright.stages.command import exit_with
from trained import DIGITS, MLP, colour_checkpoint, digit_checkpoint, digit_images, expected, save


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint."""
    return digit_checkpoint(tmp_path_factory.mktemp("digits") / "best.ckpt")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the digits 600 to 629 as PNG."""
    folder = tmp_path_factory.mktemp("files")
    for number, image in enumerate(digit_images(600, 30)[0]):
        Image.fromarray(image[..., 0]).save(folder / f"{number:03d}.png")
    return folder


def ended(*arguments: object) -> int:
    """Exit status of the command."""
    with pytest.raises(SystemExit) as end:
        exit_with(lambda: predict.run([str(argument) for argument in arguments]))
    return int(end.value.code or 0)


def read_csv(text: str) -> tuple[list[dict[str, str]], np.ndarray[Any, Any]]:
    """Rows, and probabilities (N, K)."""
    rows = list(csv.DictReader(io.StringIO(text)))
    return rows, np.array([[float(value) for name, value in row.items() if name.startswith("p(")] for row in rows])


# --- what is predicted ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 30, 64])
def test_the_probabilities_are_those_of_the_network_in_the_order_of_the_files(
    digits: Path, files: Path, batch_size: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(files, "--model", digits, "--format", "csv", "--batch-size", batch_size) == 0
    printed, said = capsys.readouterr()
    rows, shares = read_csv(printed)
    assert list(rows[0]) == ["path", "class", "confidence", *(f"p({name})" for name in DIGITS)]
    assert [row["path"] for row in rows] == [f"{files}/{number:03d}.png" for number in range(30)]
    wanted = expected(digits, digit_images(600, 30)[0])
    np.testing.assert_allclose(shares, wanted, rtol=0, atol=1e-6)
    assert [row["class"] for row in rows] == [DIGITS[label] for label in wanted.argmax(1)]
    np.testing.assert_allclose([float(row["confidence"]) for row in rows], wanted.max(1), rtol=0, atol=1e-6)
    assert said == ""


def test_all_formats_say_the_same(digits: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed = {}
    for kind in ("csv", "json", "table"):
        assert ended(files, "--model", digits, "--format", kind) == 0
        printed[kind] = capsys.readouterr().out
    rows, shares = read_csv(printed["csv"])
    documents = json.loads(printed["json"])
    lines = printed["table"].splitlines()[2:]
    for row, values, document, line in zip(rows, shares, documents, lines, strict=True):
        best = np.argsort(-values, kind="stable")
        assert document["path"] == row["path"]
        assert document["class"] == row["class"] == DIGITS[best[0]]
        assert document["confidence"] == float(row["confidence"]) == values.max()
        assert list(document["probabilities"].items()) == [(DIGITS[index], values[index]) for index in best]
        second, third = (f"{DIGITS[index]} {values[index]:.2%}" for index in best[1:3])
        assert line.split(None, 3) == [row["path"], row["class"], f"{values.max():.2%}", f"{second}, {third}"]


@pytest.mark.parametrize("top", [1, 2, 99])
def test_top_says_how_many_classes_are_named(
    digits: Path, files: Path, top: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(files / "000.png", "--model", digits, "--format", "json", "--top", top) == 0
    (document,) = json.loads(capsys.readouterr().out)
    assert len(document["probabilities"]) == min(top, 10)
    assert next(iter(document["probabilities"])) == document["class"]
    assert ended(files / "000.png", "--model", digits, "--top", top) == 0
    assert capsys.readouterr().out.count("%") == min(top, 10)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_images_come_to_the_input_as_the_model_says(tmp_path: Path, fit: str) -> None:
    """Images of one colour: only the background of a padded one makes a difference."""
    model = load_model(colour_checkpoint(tmp_path / "best.ckpt", fit=fit, background=[10, 200, 90]))
    paths, images = [], np.zeros((4, 24, 20, 3), np.uint8)
    for row, tint in enumerate(((220, 60, 40), (50, 200, 70), (40, 70, 220), (190, 180, 60))):
        paths.append(str(tmp_path / f"{row}.png"))
        Image.new("RGB", (20, 12), tint).save(paths[-1])
        images[row] = tint
    if fit == "pad":
        images[:, :6] = images[:, 18:] = (10, 200, 90)
    given = np.stack(list(predict_images(model, paths, 3)))  # type: ignore[arg-type]
    np.testing.assert_allclose(given, expected(tmp_path / "best.ckpt", images), rtol=0, atol=1e-6)


@pytest.mark.parametrize("room", [1, 10 * 8 * 8, 2**30])
def test_the_result_does_not_depend_on_how_many_images_lie_on_the_disk_at_once(
    digits: Path, files: Path, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_ROOM", room)
    paths = [str(path) for path in sorted(files.iterdir())]
    paths.insert(7, "missing.png")
    read: list[int] = []
    results = list(predict_images(load_model(digits), paths, 4, read.append))
    assert sum(read) == len(results) == 31
    refused = results.pop(7)
    assert getattr(refused, "reason", "") == "not readable"
    np.testing.assert_allclose(np.stack(results), expected(digits, digit_images(600, 30)[0]), rtol=0, atol=1e-6)  # type: ignore[arg-type]


def test_many_images_are_read_by_several_processes_and_stay_in_their_order(digits: Path, files: Path) -> None:
    paths = [str(path) for path in sorted(files.iterdir())] * 200
    once = expected(digits, digit_images(600, 30)[0])
    processes = 0
    with closing(predict_images(load_model(digits), paths, 64)) as results:
        for row, shares in enumerate(results):
            np.testing.assert_allclose(shares, once[row % 30], rtol=0, atol=1e-6)  # type: ignore[arg-type]
            if row % 500 == 0:
                processes = max(processes, len(multiprocessing.active_children()))
    assert processes == (cores() if cores() > 1 else 0)


# --- what cannot be predicted -----------------------------------------------------------------------------------------


def test_of_a_hostile_folder_each_bad_file_is_named_with_its_reason_and_the_rest_is_predicted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = hostile.make(tmp_path / "hostile")
    model = colour_checkpoint(tmp_path / "best.ckpt", max_pixels=hostile.MAX_PIXELS)
    assert ended(made.folder, "--model", model, "--format", "csv") == 1
    printed, said = capsys.readouterr()
    given = {row["path"] for row in read_csv(printed)[0]}
    loose = f"{made.folder}/loose.png"  # outside of a class: prepare passes it over, and here there are no classes
    usable = {f"{made.folder}/{item.path}" for item in made.items if item.outcome in ("used", "conflict")}
    assert given == {*map(shown, usable), loose}
    rejected = made.of("rejected")
    reported = [line for line in said.splitlines() if line.startswith(str(made.folder))]
    assert len(reported) == len(rejected)
    for path, item in rejected.items():
        assert any(line.startswith(f"{made.folder}/{shown(path)}: {item.why}: ") for line in reported), path
    assert f"predicted {len(given)} of {len(given) + len(rejected)} images" in said
    (ignored,) = [line for line in said.splitlines() if line.startswith("note: ")]
    assert ignored.startswith("note: ignored, as no images: ")
    counted = sum(int(part.split()[0]) for part in ignored.partition(": ")[2].partition(": ")[2].split(", "))
    assert counted == len(made.of("ignored")) - 1
    for text in (printed, said):
        assert text.isprintable() or all(letter.isprintable() or letter == "\n" for letter in text)


def test_a_file_that_is_not_there_is_reported_and_the_others_are_predicted(
    digits: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = "x" * 5000
    assert ended("nowhere.png", files / "000.png", long, "--model", digits, "--format", "json") == 1
    printed, said = capsys.readouterr()
    assert [document["path"] for document in json.loads(printed)] == [f"{files}/000.png"]
    assert "nowhere.png: not readable: No such file or directory" in said
    assert f"{long}: not readable: File name too long" in said


@pytest.mark.parametrize(("kind", "nothing"), [("json", []), ("csv", []), ("table", "")])
def test_if_nothing_can_be_predicted_what_is_printed_is_still_whole(
    digits: Path, kind: str, nothing: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended("nowhere.png", "--model", digits, "--format", kind) == 1
    printed = capsys.readouterr().out
    assert (json.loads(printed) if kind == "json" else read_csv(printed)[0] if kind == "csv" else printed) == nothing


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_names_with_anything_in_them_neither_break_a_line_nor_a_cell(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images, labels = digit_images(0, 100)
    classes = [*DIGITS[:4], "a,b", 'say "x"', "two\nlines", "=1+1", "犬", "\x1b[31mred"]
    model = save(tmp_path / "best.ckpt", MLP, images, labels, classes)
    names = ["a,b.png", 'c"d".png', "e\nf.png", os.fsdecode(b"caf\xe9.png"), "--top", "\x1b[2J.png", "犬.png"]
    for name in names:
        Image.fromarray(images[0, ..., 0]).save(tmp_path / name, "PNG")
    paths = [f"{tmp_path}/{name}" for name in names]
    assert ended("--model", model, "--format", kind, *paths) == 0
    printed = capsys.readouterr().out
    if kind == "csv":
        rows, _ = read_csv(printed)
        given, known = [row["path"] for row in rows], [name[2:-1] for name in rows[0] if name.startswith("p(")]
    else:
        rows = json.loads(printed)
        given, known = [row["path"] for row in rows], sorted(rows[0]["probabilities"])
    # JSON has an escape for everything, so that a program can open the file by it.
    assert given == (paths if kind == "json" else [shown(path) for path in paths])
    assert sorted(known) == sorted(map(shown, classes))
    assert printed.encode("utf-8").decode("utf-8") == printed
    assert "\x1b" not in printed


def test_a_folder_without_images_is_refused_with_what_it_holds(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    assert ended(tmp_path, "--model", digits) == 2
    assert f"error: {tmp_path}: holds no images (ignored: 1 .txt)" in capsys.readouterr().err


# --- by which model ---------------------------------------------------------------------------------------------------


def project(root: Path, checkpoint: Path | None) -> Path:
    """A folder that is a project, with a model or without."""
    (root / "params.yaml").write_text("{}\n")
    (root / "dvc.yaml").write_text("vars:\n  - paths:\n      models: trained here\n")
    if checkpoint is not None:
        (root / "trained here").mkdir()
        shutil.copy(checkpoint, root / "trained here" / "best.ckpt")
        (root / "trained here" / "run.json").write_text("{}\n")
    return root


def test_the_model_of_a_training_that_was_interrupted_is_taken_only_if_it_is_named(
    digits: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path, digits))
    (tmp_path / "trained here" / "run.json").unlink()  # which is written at the end
    assert ended(files) == 2
    assert "best.ckpt: its training did not come to its end; run `dvc repro`" in capsys.readouterr().err
    assert ended(files, "--model", "trained here/best.ckpt") == 0


@pytest.mark.parametrize("place", ["best.ckpt", "artifacts/best.ckpt"])
def test_a_folder_stands_for_the_model_in_it(
    digits: Path, files: Path, tmp_path: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / place).parent.mkdir(exist_ok=True)
    shutil.copy(digits, tmp_path / place)
    assert ended(files, "--model", tmp_path, "--format", "csv") == 0
    shares = read_csv(capsys.readouterr().out)[1]
    np.testing.assert_allclose(shares, expected(digits, digit_images(600, 30)[0]), rtol=0, atol=1e-6)


def test_without_a_word_it_is_the_model_of_the_project(
    digits: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(tmp_path, digits))
    assert ended(files, "--format", "csv") == 0
    shares = read_csv(capsys.readouterr().out)[1]
    np.testing.assert_allclose(shares, expected(digits, digit_images(600, 30)[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), r"trained here/best.ckpt: not found; run `dvc repro` first"),
        (("--model", "gone.ckpt"), "--model: gone.ckpt: no such file"),
        (("--model", "gone.onnx"), "--model: gone.onnx: no such file"),
        (("--model", "."), "--model: .: holds no best.ckpt and no model.onnx; name a folder of runs/ or exports/"),
        (("--model", "sweep"), "name one of the folders in it: 0, 1"),
        (("--model", "params.yaml"), "params.yaml: is no checkpoint"),
        (("--model", "broken.onnx"), "broken.onnx: is no ONNX file"),
    ],
)
def test_a_model_that_is_not_there_or_broken_ends_with_two_and_says_what_to_do(
    files: Path,
    tmp_path: Path,
    given: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(project(tmp_path, None))
    (tmp_path / "broken.onnx").write_text("no")
    for job in ("0", "1"):
        (tmp_path / "sweep" / job).mkdir(parents=True)
        (tmp_path / "sweep" / job / "best.ckpt").touch()
    assert ended(files, *given) == 2
    printed, words = capsys.readouterr()
    assert said in words
    assert printed == ""


def test_without_project_and_model_both_are_named(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ended(files) == 2
    assert "--model: is needed where there is no project" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [(), ("x.png", "--format", "xml"), ("x.png", "--top", "0"), ("x.png", "--format", "csv", "--top", "2")],
)
def test_wrong_arguments_end_with_two(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(*arguments) == 2
    assert "usage: imagewright predict" in capsys.readouterr().err


# --- the process ------------------------------------------------------------------------------------------------------

COMMAND = "import sys; from imagewright.cli import main; main()"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["csv", "json", "table"])
def test_a_reader_that_goes_away_ends_it_without_a_word(digits: Path, files: Path, kind: str) -> None:
    arguments = [sys.executable, "-c", COMMAND, "predict", "--model", str(digits), "--format", kind]
    with subprocess.Popen(
        [*arguments, *[str(path) for path in files.iterdir()] * 100],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,  # or all of it might fit into the pipe
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        said = process.stderr.read().decode()
        assert process.wait() == 141, said
    assert said == ""


@pytest.mark.slow
def test_the_model_of_a_pipeline_gives_files_what_evaluate_gave_the_stored_images(
    finished: Project, tmp_path: Path
) -> None:
    images = np.load(finished.root / "data" / "prepared" / "test" / "images.npy")
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{number:03d}.png")
    printed = finished.run("imagewright", "predict", str(tmp_path), "--format", "csv")
    rows, shares = read_csv(printed)
    with (finished.root / "reports" / "evaluation" / "predictions.csv").open(newline="", encoding="utf-8") as file:
        scored, wanted = read_csv(file.read())
    assert [row["class"] for row in rows] == [row["prediction"] for row in scored]
    np.testing.assert_allclose(shares, wanted, rtol=0, atol=1e-6)
