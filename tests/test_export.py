"""`imagewright export`: what the ONNX file gives, what it knows of itself, and the code in its README."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from conftest import Project
from hostile import texture
from imagewright.cli import export
from imagewright.errors import DataError
from imagewright.evaluation.images import predict_images
from imagewright.models.exported import export_onnx, load_onnx
from imagewright.models.saved import SavedModel, load_model
from imagewright.names import shown
from imagewright.stages.command import exit_with
from trained import (
    CNN,
    COLOURS,
    DIGITS,
    MLP,
    PREPROCESSING,
    RESNET,
    TINTS,
    colour_checkpoint,
    colour_images,
    digit_checkpoint,
    digit_images,
    expected,
    save,
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclasses.dataclass(frozen=True)
class Exported:
    """A checkpoint, the folder of its export, and images (N, H, W, C) of its size that it never saw."""

    checkpoint: Path
    folder: Path
    images: npt.NDArray[np.uint8]
    classes: list[str]
    preprocessing: dict[str, Any]


def ended(*arguments: object) -> int:
    """Exit status of the command."""
    with pytest.raises(SystemExit) as end:
        exit_with(lambda: export.run([str(argument) for argument in arguments]))
    return int(end.value.code or 0)


def photos(folder: Path, sizes: Sequence[tuple[int, int]], kind: str, **keys: Any) -> list[Path]:
    """Colour images of (width, height), which differ."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, size in enumerate(sizes):
        image = Image.fromarray(texture(900 + number, TINTS[number % len(TINTS)]))
        paths.append(folder / f"{len(list(folder.iterdir())):02d}.{kind.lower()}")
        image.resize(size, Image.Resampling.BICUBIC).save(paths[-1], kind, **keys)
    return paths


@pytest.fixture(scope="module", params=["grey cnn, crop", "colour resnet, pad", "colour mlp, stretch"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    folder = tmp_path_factory.mktemp("exported")
    kind, fit = request.param.split(", ")
    changes: dict[str, Any] = {"fit": fit, "background": [250, 20, 130]}
    if kind == "grey cnn":
        checkpoint = digit_checkpoint(folder / "best.ckpt", CNN, **changes)
        images, classes = digit_images(700, 150)[0], DIGITS
    else:
        checkpoint = colour_checkpoint(folder / "best.ckpt", RESNET if kind == "colour resnet" else MLP, **changes)
        images, classes = colour_images(90, 300)[0][:, ::2, ::2].copy(), COLOURS
    sources = folder / "images"
    sources.mkdir()
    for number, image in enumerate(images[:40]):
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(sources / f"{number:03d}.png")
    (sources / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = folder / "out"
    assert ended("--model", checkpoint, "--images", sources, "--out", out) == 0
    return Exported(checkpoint, out, images, classes, {**PREPROCESSING, **changes})


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 5, 90])
def test_the_onnx_file_gives_the_probabilities_of_the_network_for_any_number_of_images(
    exported: Exported, batch: int
) -> None:
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx", providers=["CPUExecutionProvider"])
    given = np.concatenate(
        [
            session.run(["probabilities"], {"images": exported.images[first : first + batch]})[0]
            for first in range(0, 90, batch)
        ]
    )
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected(exported.checkpoint, exported.images[:90]), rtol=0, atol=1e-5)


def test_the_onnx_file_alone_knows_classes_preprocessing_and_where_it_comes_from(
    exported: Exported, tmp_path: Path
) -> None:
    alone = tmp_path / "another name.onnx"
    shutil.copy(exported.folder / "model.onnx", alone)
    model = load_onnx(alone)
    assert model.classes == exported.classes
    assert model.input_shape == (exported.images.shape[3], *exported.images.shape[1:3])
    assert model.preprocessing == exported.preprocessing
    assert model.provenance["sha256"] == hashlib.sha256(exported.checkpoint.read_bytes()).hexdigest()
    wanted = expected(exported.checkpoint, exported.images[:9])
    np.testing.assert_allclose(model.probabilities(exported.images[:9]), wanted, rtol=0, atol=1e-5)


def test_the_onnx_file_is_valid_names_its_ends_and_says_nothing_of_this_machine(exported: Exported) -> None:
    content = (exported.folder / "model.onnx").read_bytes()
    proto = onnx.load_model_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    (images,), (probabilities,) = proto.graph.input, proto.graph.output
    assert (images.name, probabilities.name) == ("images", "probabilities")
    sizes = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert sizes == ["batch", *exported.images.shape[1:]]
    for path in (sys.prefix, str(Path.cwd()), str(exported.folder.parent), str(Path(torch.__file__).parent)):
        assert path.encode() not in content


def test_the_description_says_what_the_model_takes_and_gives(exported: Exported) -> None:
    assert {path.name for path in exported.folder.iterdir()} == {"model.onnx", "model.json", "README.md"}
    described = json.loads((exported.folder / "model.json").read_text("utf-8"))
    assert described["classes"] == exported.classes
    assert described["preprocessing"] == exported.preprocessing
    assert described["input"] == {"name": "images", "type": "uint8", "shape": ["B", *exported.images.shape[1:]]}
    shape = ["B", len(exported.classes)]
    assert described["output"] == {"name": "probabilities", "type": "float32", "shape": shape}
    assert described["compared"]["images"] == 40
    assert 0 <= described["compared"]["difference"] <= 1e-5


# --- its use without imagewright --------------------------------------------------------------------------------------

# Nothing that imports these would run.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys(('imagewright', 'torch', 'mlflow', 'simplejpeg')))\n"


def by_the_readme(folder: Path, paths: Sequence[Path]) -> tuple[npt.NDArray[np.float64], str]:
    """Probabilities (N, K) by the code of the README in a process of its own, and what it printed of the first."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.DOTALL)
    assert code.count('"image.png"') == 1
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    listed = ", ".join(f"pixels({str(path)!r})" for path in paths)
    code = code.replace('pixels("image.png")', listed) + "print(json.dumps(probabilities.tolist()))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT + code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed, _, last = done.stdout.rstrip().rpartition("\n")
    return np.array(json.loads(last)), printed


def test_the_code_of_the_readme_runs_without_imagewright_and_agrees(exported: Exported, tmp_path: Path) -> None:
    exact, near = [], []
    for number, image in enumerate(exported.images[80:84]):
        exact.append(tmp_path / f"exact{number}.png")
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(exact[-1])
    # Transparent, and of another shape.
    seen = Image.fromarray(texture(77, TINTS[1])).convert("RGBA")
    seen.putalpha(Image.linear_gradient("L").resize(seen.size))
    exact.append(tmp_path / "transparent.png")
    seen.save(exact[-1])
    exact += photos(tmp_path / "png", [(40, 48), (61, 33), (24, 99), (20, 24)], "PNG")
    # By other roads: turned after it is resized, decoded at a part of its size.
    exif = Image.Exif()
    exif[0x0112] = 6
    near += photos(tmp_path / "turned", [(48, 40)], "JPEG", quality=95, exif=exif)
    near += photos(tmp_path / "large", [(640, 480), (500, 700)], "JPEG", quality=95)
    given, printed = by_the_readme(exported.folder, [*exact, *near])
    model = load_model(exported.checkpoint)
    wanted = np.stack(list(predict_images(model, [str(path) for path in [*exact, *near]], 4)))  # type: ignore[arg-type]
    assert np.ptp(wanted, axis=0).max() > 0.1
    np.testing.assert_allclose(given[: len(exact)], wanted[: len(exact)], rtol=0, atol=1e-5)
    np.testing.assert_allclose(given, wanted, rtol=0, atol=0.05)
    best = wanted[0].argsort()[::-1][:3]
    lines = [f"{exported.classes[index]}: {wanted[0, index]:.2%}" for index in best]
    assert printed.splitlines() == lines


def test_the_readme_lists_the_classes(exported: Exported) -> None:
    content = (exported.folder / "README.md").read_text("utf-8")
    for index, name in enumerate(exported.classes):
        assert f"\n    {index}  {shown(name)}\n" in content


# --- what is refused --------------------------------------------------------------------------------------------------


class _AnotherWhenExported(nn.Module):
    """A network whose ONNX form computes something else."""

    def __init__(self, network: nn.Module, difference: float) -> None:
        super().__init__()
        self.network, self.difference = network, difference

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.network(pixels)
        if torch.compiler.is_exporting():
            logits = logits + self.difference * torch.arange(logits.shape[1])
        return logits


class _Undecided(nn.Module):
    """A network that is no graph: what it does depends on the numbers."""

    def forward(self, pixels: Tensor) -> Tensor:
        flat = pixels.float().flatten(1)[:, :4]
        return flat if flat.sum() > 100 else -flat


def test_a_model_that_gives_other_probabilities_as_onnx_is_not_written(tmp_path: Path) -> None:
    model = load_model(digit_checkpoint(tmp_path / "best.ckpt", MLP))
    images = digit_images(600, 70)[0]
    for difference, refused in ((0.0, False), (0.001, True), (float("nan"), True)):
        changed = dataclasses.replace(model, network=_AnotherWhenExported(model.network, difference))
        out = tmp_path / f"{difference}.onnx"
        if refused:
            with pytest.raises(DataError, match="must give the probabilities of the checkpoint within 1e-05"):
                export_onnx(changed, out, images, {})
        else:
            export_onnx(changed, out, images, {})
        assert out.exists() != refused


def test_a_network_that_cannot_be_written_as_onnx_is_refused(tmp_path: Path) -> None:
    model = SavedModel(_Undecided().eval(), COLOURS, (3, 24, 20), PREPROCESSING)
    with pytest.raises(DataError, match="the network cannot be written as ONNX"):
        export_onnx(model, tmp_path / "model.onnx", colour_images(4, 0)[0][:, ::2, ::2].copy(), {})
    assert list(tmp_path.iterdir()) == []


def changed(content: bytes, **values: str | None) -> bytes:
    """An ONNX file with other metadata; None takes a key away."""
    proto = onnx.load_model_from_string(content)
    kept = {prop.key: prop.value for prop in proto.metadata_props} | values
    proto.ClearField("metadata_props")
    for key, value in kept.items():
        if value is not None:
            proto.metadata_props.add(key=key, value=value)
    return bytes(proto.SerializeToString())


@pytest.mark.parametrize(
    "values",
    [
        {"classes": None},
        {"preprocessing": None},
        {"classes": "["},
        {"classes": '["a"]'},
        {"input_shape": "[3, 24]"},
        {"input_shape": "[1, 24, 20]"},
        {"input_shape": "[3, 20, 24]"},
        {"preprocessing": "{}"},
        {"preprocessing": json.dumps({**PREPROCESSING, "fit": "squeeze"})},
        {"provenance": "1"},
    ],
)
def test_an_onnx_file_that_is_none_of_imagewrights_is_refused(
    exported: Exported, values: dict[str, str | None], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(changed((exported.folder / "model.onnx").read_bytes(), **values))
    with pytest.raises(DataError, match=r"model\.onnx: is no ONNX file that `imagewright export` has written"):
        load_onnx(path)


def test_an_onnx_file_that_is_cut_off_missing_or_something_else_is_refused(exported: Exported, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    with pytest.raises(DataError, match=r"model\.onnx: not found"):
        load_onnx(path)
    content = (exported.folder / "model.onnx").read_bytes()
    random = np.random.default_rng(0)
    pieces = [content[: len(content) * share // 10] for share in range(10)]
    for broken in (*pieces, exported.checkpoint.read_bytes(), b"text", *(random.bytes(size) for size in range(1, 60))):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"model\.onnx: is no ONNX file"):
            load_onnx(path)


# --- the folder -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with prepared test images and a model."""
    root = tmp_path_factory.mktemp("project")
    (root / "params.yaml").write_text("{}\n")
    (root / "dvc.yaml").write_text("vars:\n  - paths:\n      models: models\n      prepared: data/prepared\n")
    digit_checkpoint(root / "models" / "best.ckpt", MLP)
    test = root / "data" / "prepared" / "test"
    test.mkdir(parents=True)
    images, labels = digit_images(600, 300)
    np.save(test / "images.npy", images)
    np.save(test / "labels.npy", labels)
    return root


def test_in_a_project_its_model_is_compared_by_its_test_images_and_goes_to_exports(
    digits: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits)
    checkpoint = digits / "models" / "best.ckpt"
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    record = {"run_id": "ab" * 16, "run_name": "../cnn, lr=0.1", "commit": "c" * 40, "data": {"test": "d" * 16}}
    (digits / "models" / "run.json").write_text(json.dumps({**record, "files": {"best.ckpt": digest}}))
    assert ended() == 0
    out = digits / "exports" / "cnn_lr=0.1"
    assert str(out) in capsys.readouterr().out
    described = json.loads((out / "model.json").read_text("utf-8"))
    assert described["provenance"].items() >= {**record, "sha256": digest}.items()
    assert described["compared"]["images"] == 256
    assert load_onnx(out / "model.onnx").provenance == described["provenance"]
    # A record that is about another file says nothing of this one.
    (digits / "models" / "run.json").write_text(json.dumps({**record, "files": {"best.ckpt": "0" * 64}}))
    assert ended() == 0
    described = json.loads((digits / "exports" / "best" / "model.json").read_text("utf-8"))
    assert "run_id" not in described["provenance"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_that_is_not_empty_is_left_alone_and_force_replaces_an_export_only(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits)
    out = tmp_path / "out"
    out.mkdir()
    assert ended("--out", out) == 0
    before = contents(out)
    assert ended("--out", out) == 2
    assert f"--out: {out} is not empty; give another folder, or --force" in capsys.readouterr().err
    (out / "README.md").write_text("old")
    assert ended("--out", out, "--force") == 0
    assert contents(out) == before
    (out / "thesis.tex").write_text("years of work")
    (out / "README.md").write_text("old")
    assert ended("--out", out, "--force") == 2
    assert "holds more than an export (thesis.tex)" in capsys.readouterr().err
    assert contents(out)["README.md"] == b"old"
    (tmp_path / "file").touch()
    assert ended("--out", tmp_path / "file") == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


def test_an_export_that_fails_leaves_nothing(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(digits)
    colours = colour_checkpoint(tmp_path / "models" / "best.ckpt", MLP)
    out = tmp_path / "out"
    for arguments, said in (
        (("--model", colours), "test images of the project are of (H, W, C) (8, 8, 1)"),
        (("--model", colours, "--images", tmp_path / "models"), "holds no usable image"),
        (("--model", colours, "--images", tmp_path / "nowhere"), "nowhere"),
        (("--model", tmp_path / "gone.ckpt"), "gone.ckpt: no such file"),
        (("--model", digits / "params.yaml"), "is no checkpoint"),
        (("--model", digits / "x.onnx"), "x.onnx: no such file"),
    ):
        assert ended("--out", out, *arguments) == 2
        assert said in capsys.readouterr().err
        assert [path.name for path in tmp_path.iterdir()] == ["models"]
    monkeypatch.chdir(tmp_path)
    assert ended("--out", out, "--model", colours) == 2
    assert "--images: is needed where there is no project" in capsys.readouterr().err
    (digits / "written.onnx").touch()
    assert ended("--out", out, "--model", digits / "written.onnx") == 2
    assert "is an ONNX file already" in capsys.readouterr().err


def test_names_of_classes_with_anything_in_them_come_through(tmp_path: Path) -> None:
    images, labels = digit_images(0, 100)
    classes = ["```", "~~~\nprint(1)", "# no title", "{braces}", "%s", "</code>", "犬", "\x1b[31m", "caf\\xe9", "a,b"]
    checkpoint = save(tmp_path / "best.ckpt", MLP, images, labels, classes)
    (path,) = photos(tmp_path / "images", [(20, 20)], "PNG")
    assert ended("--model", checkpoint, "--images", path.parent, "--out", tmp_path / "out") == 0
    assert load_onnx(tmp_path / "out" / "model.onnx").classes == classes
    assert json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))["classes"] == classes
    wanted = np.stack(list(predict_images(load_model(checkpoint), [str(path)], 1)))  # type: ignore[arg-type]
    given, _ = by_the_readme(tmp_path / "out", [path])
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_model_of_a_pipeline_is_exported_with_its_run_and_predicts_the_same(ready: Project, tmp_path: Path) -> None:
    printed = ready.run("imagewright", "export", "--out", str(tmp_path / "out"))
    assert "exported to" in printed
    assert "Warning" not in printed
    run = json.loads((ready.root / "models" / "run.json").read_text("utf-8"))
    described = json.loads((tmp_path / "out" / "model.json").read_text("utf-8"))
    for key in ("run_id", "run_name", "commit"):
        assert described["provenance"][key] == run[key]
    images = np.load(ready.root / "data" / "prepared" / "test" / "images.npy")
    given = load_onnx(tmp_path / "out" / "model.onnx").probabilities(images)
    wanted = load_model(ready.root / "models" / "best.ckpt").probabilities(images)
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-5)
