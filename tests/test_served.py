"""The model in MLflow: packed, loaded where imagewright is not installed, and served."""

from __future__ import annotations

import base64
import io
import json
import os
import pickletools
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import grimp
import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.pyfunc.scoring_server import invocations
from packaging.requirements import Requirement
from PIL import Image

from conftest import Project
from hostile import texture
from imagewright.evaluation.images import predict_images
from imagewright.models.exported import export_onnx, load_onnx
from imagewright.models.saved import load_model
from imagewright.tracking.packing import pack_model
from servers import free_port, serving
from trained import CNN, COLOURS, DIGITS, RESNET, TINTS, colour_checkpoint, digit_checkpoint, digit_images, expected

Probabilities = npt.NDArray[np.floating]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class Packed:
    """A checkpoint, the folder for MLflow, and files of images."""

    checkpoint: Path
    folder: Path
    files: list[Path]
    classes: list[str]

    def wanted(self) -> Probabilities:
        """What the pipeline's own code gives, (N, K)."""
        paths = [str(path) for path in self.files]
        return np.stack(list(predict_images(load_model(self.checkpoint), paths, 5)))  # type: ignore[arg-type]


def digits_in(folder: Path) -> Packed:
    """Grey images of the size of the input."""
    checkpoint = digit_checkpoint(folder / "best.ckpt", CNN)
    files = []
    for number, image in enumerate(digit_images(600, 20)[0]):
        files.append(folder / f"{number:02d}.png")
        Image.fromarray(image[..., 0]).save(files[-1])
    pack_model(folder / "packed", checkpoint, files[0])
    return Packed(checkpoint, folder / "packed", files, DIGITS)


def colours_in(folder: Path) -> Packed:
    """Photos of any size and kind, for a network that gets them padded."""
    checkpoint = colour_checkpoint(folder / "best.ckpt", RESNET, fit="pad", background=[9, 80, 160])
    files = []
    for number, size in enumerate([(48, 40), (300, 200), (31, 77), (24, 20)]):
        image = Image.fromarray(texture(900 + number, TINTS[number])).resize(size)
        files.append(folder / f"{number}.jpg")
        exif = Image.Exif()
        exif[0x0112] = number + 3
        image.save(files[-1], quality=92, exif=exif)
    seen = Image.fromarray(texture(77, TINTS[1])).convert("RGBA")
    seen.putalpha(Image.linear_gradient("L").resize(seen.size))
    files.append(folder / "transparent.png")
    seen.save(files[-1])
    pack_model(folder / "packed", checkpoint, files[0])
    return Packed(checkpoint, folder / "packed", files, COLOURS)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return digits_in(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return colours_in(tmp_path_factory.mktemp("colours"))


@pytest.fixture(params=["digits", "colours"])
def packed(request: pytest.FixtureRequest) -> Packed:
    given: Packed = request.getfixturevalue(request.param)
    return given


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Any]:
    """MLflow puts the code of a model in front of the path of the process that loads it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return mlflow.pyfunc.load_model


def text_of(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def shares_of(answer: pd.DataFrame | list[dict[str, Any]], classes: list[str]) -> Probabilities:
    """Probabilities (N, K); checks that the rest of an answer agrees with them."""
    rows = answer.to_dict("records") if isinstance(answer, pd.DataFrame) else answer
    for row in rows:
        assert list(row["probabilities"]) == classes
        assert row["probability"] == row["probabilities"][row["class"]] == max(row["probabilities"].values())
    return np.array([list(row["probabilities"].values()) for row in rows])


# --- the folder -------------------------------------------------------------------------------------------------------


def test_the_model_says_what_it_takes_and_gives(packed: Packed) -> None:
    model = Model.load(packed.folder)
    saved = load_model(packed.checkpoint)
    assert model.metadata == {
        "classes": saved.classes,
        "input_shape": list(saved.input_shape),
        "preprocessing": saved.preprocessing,
    }
    assert model.signature is not None
    assert json.loads(model.signature.to_dict()["inputs"]) == [{"type": "any", "name": "image", "required": True}]
    assert model.signature.outputs.input_names() == ["class", "probability", "probabilities"]
    example = json.loads((packed.folder / "input_example.json").read_text("utf-8"))
    assert example == [{"image": text_of(packed.files[0])}]


def test_nothing_is_pickled_but_the_tensors_of_the_checkpoint(packed: Packed) -> None:
    files = [path for path in packed.folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pyc", ".pkl", ".pickle", ".pth", ".pt")]
    pickled = [path for path in files if path.read_bytes()[:1] == b"\x80" or zipfile.is_zipfile(path)]
    assert pickled == [packed.folder / "artifacts" / "best.ckpt"]
    assert pickled[0].read_bytes() == packed.checkpoint.read_bytes()
    with zipfile.ZipFile(pickled[0]) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".pkl")]
        named = {str(value) for code, value, _ in pickletools.genops(archive.read(name)) if code.name == "GLOBAL"}
    assert {value.split()[0].split(".")[0] for value in named} <= {"torch", "collections"}


def test_the_requirements_are_what_runs_here(packed: Packed) -> None:
    lines = (packed.folder / "requirements.txt").read_text("utf-8").split()
    required = {Requirement(line).name: Requirement(line) for line in lines}
    assert {"mlflow", "torch", "numpy", "pillow", "simplejpeg"} <= set(required)
    for name, requirement in required.items():
        assert requirement.specifier.contains(version(name)), name
        assert "+" not in str(requirement)


def test_all_code_that_the_decoder_and_the_networks_import_is_packed(packed: Packed) -> None:
    code = packed.folder / "code"
    modules = {".".join(path.relative_to(code).with_suffix("").parts) for path in code.rglob("*.py")}
    modules = {module.removesuffix(".__init__") for module in modules}
    graph = grimp.build_graph("imagewright", cache_dir=None)
    roots = {"imagewright.tracking.served", *graph.find_descendants("imagewright.models")}
    needed = {imported for root in roots for imported in graph.find_upstream_modules(root)}
    assert needed <= modules
    assert {"imagewright.data.decoding", "imagewright.models.saved", "imagewright.models.cnn"} <= modules
    # Each file is a request to a server.
    assert len([path for path in packed.folder.rglob("*") if path.is_file()]) < 40


ALONE = """
import json, sys
sys.path = [place for place in sys.path if "imagewright" not in place and not place.endswith("/src")]
import importlib.util
assert importlib.util.find_spec("imagewright") is None
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
import pandas as pd
answer = model.predict(pd.DataFrame({"image": json.load(sys.stdin)}))
import imagewright
assert imagewright.__file__.startswith(sys.argv[1]), imagewright.__file__
parts = [module for module in sys.modules.values() if module.__name__.startswith("imagewright")]
used = set()
for module in parts:
    for value in vars(module).values():
        used.add((getattr(value, "__module__", None) or getattr(value, "__name__", "")).split(".")[0])
print(json.dumps([answer.to_dict("records"), sorted(used - set(sys.stdlib_module_names))]))
"""


@pytest.mark.slow
def test_it_loads_where_imagewright_is_not_installed_and_needs_no_more_than_it_requires(colours: Packed) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(colours.folder)],
        cwd=colours.folder.parent,
        env=environment,
        input=json.dumps([text_of(path) for path in colours.files]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer, used = json.loads(done.stdout)
    np.testing.assert_allclose(shares_of(answer, colours.classes), colours.wanted(), rtol=0, atol=1e-6)
    modules = {"pillow": "PIL"}
    required = {
        modules.get(Requirement(line).name, Requirement(line).name)
        for line in (colours.folder / "requirements.txt").read_text("utf-8").split()
    }
    third_party = {
        name for name in used if name and name not in ("imagewright", "builtins") and "code_model" not in name
    }
    assert {"torch", "numpy", "PIL", "simplejpeg"} <= third_party
    assert third_party <= required


@pytest.mark.slow
def test_packing_needs_no_torch(colours: Packed, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from imagewright.tracking.packing import pack_model; "
        "pack_model(*map(Path, sys.argv[1:])); print('torch' in sys.modules)"
    )
    paths = [tmp_path / "packed", colours.checkpoint, colours.files[0]]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    again, before = Model.load(tmp_path / "packed"), Model.load(colours.folder)
    assert (again.metadata, again.signature) == (before.metadata, before.signature)


# --- what it answers --------------------------------------------------------------------------------------------------


def test_it_gives_encoded_images_the_probabilities_of_the_pipeline(packed: Packed, load: Callable[[Path], Any]) -> None:
    model, wanted = load(packed.folder), packed.wanted()
    assert np.ptp(wanted, axis=0).max() > 0.5
    for cells in (
        [text_of(path) for path in packed.files],
        [f"data:image/{path.suffix[1:]};base64,{text_of(path)}" for path in packed.files],
        ["\n".join(text_of(path)[part : part + 76] for part in range(0, 99999, 76)).strip() for path in packed.files],
        [path.read_bytes() for path in packed.files],
    ):
        given = model.predict(pd.DataFrame({"image": cells}))
        np.testing.assert_allclose(shares_of(given, packed.classes), wanted, rtol=0, atol=1e-6)


FORMS: dict[str, Callable[[npt.NDArray[np.uint8]], Any]] = {
    "nested lists": lambda pixels: pixels.tolist(),
    "nested lists with a channel": lambda pixels: pixels[..., None].tolist(),
    "nested lists of three channels": lambda pixels: pixels[..., None].repeat(3, 2).tolist(),
    "floats up to 255": lambda pixels: pixels.astype(float).tolist(),
    "floats up to 1": lambda pixels: (pixels / 255).tolist(),
    "an array": lambda pixels: pixels,
    "an array with a channel": lambda pixels: pixels[..., None],
    "an array of int64": lambda pixels: pixels.astype(np.int64),
    "an array of 16 bits": lambda pixels: pixels.astype(np.uint16) * 257,
    "an array of arrays": lambda pixels: np.array([*pixels, None], dtype=object)[:-1],
}


@pytest.mark.parametrize("form", FORMS)
def test_it_gives_arrays_the_probabilities_of_the_network(
    digits: Packed, form: str, load: Callable[[Path], Any]
) -> None:
    images, _ = digit_images(600, 20)
    given = load(digits.folder).predict(pd.DataFrame({"image": [FORMS[form](image[..., 0]) for image in images]}))
    wanted = expected(digits.checkpoint, images)
    np.testing.assert_allclose(shares_of(given, DIGITS), wanted, rtol=0, atol=1e-6)


def test_whole_numbers_are_pixels_as_they_are_also_where_values_are_scaled_by_their_range(
    tmp_path: Path, load: Callable[[Path], Any]
) -> None:
    checkpoint = digit_checkpoint(tmp_path / "best.ckpt", CNN, value_range="image")
    images, _ = digit_images(600, 4)
    dark = images // 2
    Image.fromarray(images[0, ..., 0]).save(tmp_path / "example.png")
    pack_model(tmp_path / "packed", checkpoint, tmp_path / "example.png")
    model = load(tmp_path / "packed")
    given = model.predict(pd.DataFrame({"image": [image[..., 0].tolist() for image in dark]}))
    np.testing.assert_allclose(shares_of(given, DIGITS), expected(checkpoint, dark), rtol=0, atol=1e-6)
    given = model.predict(pd.DataFrame({"image": [(image[..., 0] / 255).tolist() for image in dark]}))
    stretched = np.rint(dark * (255 / dark.max((1, 2, 3), keepdims=True))).astype(np.uint8)
    np.testing.assert_allclose(shares_of(given, DIGITS), expected(checkpoint, stretched), rtol=0, atol=1e-6)


BAD: dict[str, tuple[Any, str]] = {
    "no text at all": ("", "empty"),
    "no base64": ("!!!", "must be an image in base64"),
    "base64 that is cut off": ("iVBORw0", "must be an image in base64"),
    "no image": (base64.b64encode(b"just text").decode(), "looks like text"),
    "a PNG that is cut off": (base64.b64encode(b"\x89PNG\r\n\x1a\n").decode(), "broken"),
    "a path": ("/etc/hostname", "must be an image in base64"),
    "a URI of another kind": ("data:image/png,abc", "must have ;base64,"),
    "null": (None, "must be base64 text, bytes or an array"),
    "a number": (3, "must be base64 text, bytes or an array"),
    "a table": ({"a": 1}, "must be base64 text, bytes or an array"),
    "an empty list": ([], "an array of shape (0,)"),
    "one dimension": ([1, 2, 3], "an array of shape (3,)"),
    "four dimensions": ([[[[1]]]], "an array of shape"),
    "five channels": (np.zeros((8, 8, 5), int).tolist(), "an array of shape (8, 8, 5)"),
    "rows of different lengths": ([[1, 2], [3]], "rows of pixels must be of equal length"),
    "too great": ([[0, 256]] * 9, "whole numbers must be from 0 to 255, got 0 to 256"),
    "negative": ([[0, -1]] * 9, "whole numbers must be from 0 to 255, got -1 to 0"),
    "texts": ([["a"] * 9] * 9, "not of numbers"),
    "holes": ([[1, None] * 9] * 9, "not of numbers"),
    "not a number": (np.full((8, 8), np.nan), "no finite numbers"),
    "too small": ([[1, 2], [3, 4]], "too small"),
    "too large": (np.zeros((1001, 1000), np.uint8), "too large"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_is_refused_by_its_row_with_the_reason(
    digits: Packed, kind: str, load: Callable[[Path], Any]
) -> None:
    cell, reason = BAD[kind]
    good = text_of(digits.files[0])
    with pytest.raises(MlflowException) as refused:
        load(digits.folder).predict(pd.DataFrame({"image": [good, good, cell, good, cell]}))
    assert refused.value.error_code == "INVALID_PARAMETER_VALUE"
    assert refused.value.get_http_status_code() == 400
    assert "row 2: " in str(refused.value)
    assert "row 4: " in str(refused.value)
    assert "row 1: " not in str(refused.value)
    assert reason in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_of_many_bad_images_a_few_are_named_and_all_are_counted(digits: Packed, load: Callable[[Path], Any]) -> None:
    with pytest.raises(MlflowException, match=r"row 0: .*row 4: .*and 195 more") as refused:
        load(digits.folder).predict(pd.DataFrame({"image": ["!"] * 200}))
    assert "row 5" not in str(refused.value)


REQUESTS: dict[str, Callable[[list[Any]], dict[str, Any]]] = {
    "dataframe_records": lambda cells: {"dataframe_records": [{"image": cell} for cell in cells]},
    "dataframe_split": lambda cells: {"dataframe_split": {"columns": ["image"], "data": [[cell] for cell in cells]}},
    "inputs": lambda cells: {"inputs": [{"image": cell} for cell in cells]},
    "inputs by column": lambda cells: {"inputs": {"image": cells}},
    "instances": lambda cells: {"instances": [{"image": cell} for cell in cells]},
}


@pytest.mark.parametrize("kind", ["text", "array"])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("form", REQUESTS)
def test_every_form_of_request_that_mlflow_knows_is_answered(
    digits: Packed, form: str, count: int, kind: str, load: Callable[[Path], Any]
) -> None:
    model = load(digits.folder)
    images, _ = digit_images(600, count)
    cells = (
        [image[..., 0].tolist() for image in images] if kind == "array" else list(map(text_of, digits.files[:count]))
    )
    body = json.dumps(REQUESTS[form](cells)).encode()
    answer = invocations(body, "application/json", model, model.metadata.get_input_schema())
    assert answer.status == 200
    shares = shares_of(json.loads(answer.response)["predictions"], DIGITS)
    np.testing.assert_allclose(shares, digits.wanted()[:count], rtol=0, atol=1e-6)


def test_a_table_of_parquet_is_answered(digits: Packed, load: Callable[[Path], Any]) -> None:
    model = load(digits.folder)
    images, _ = digit_images(600, 20)
    for cells in ([path.read_bytes() for path in digits.files], [image[..., 0].tolist() for image in images]):
        table = io.BytesIO()
        pd.DataFrame({"image": cells}).to_parquet(table)
        schema = model.metadata.get_input_schema()
        answer = invocations(table.getvalue(), "application/vnd.apache.parquet", model, schema)
        shares = shares_of(json.loads(answer.response)["predictions"], DIGITS)
        np.testing.assert_allclose(shares, digits.wanted(), rtol=0, atol=1e-6)


# --- the server -------------------------------------------------------------------------------------------------------


def ask(url: str, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Status and answer."""
    request = urllib.request.Request(
        f"{url}/invocations", json.dumps(document).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def server_of(folder: Path, log: Path) -> Any:
    """``mlflow models serve``, which ends with the block, and its address."""
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local"]
    environment = {"PYTHONPATH": "", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    address = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    return serving([*command, *address], f"http://127.0.0.1:{port}/ping", log, environment), f"http://127.0.0.1:{port}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["digits", "colours"])
def test_checkpoint_onnx_mlflow_model_and_served_answer_agree(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, load: Callable[[Path], Any]
) -> None:
    packed: Packed = request.getfixturevalue(kind)
    wanted = packed.wanted()
    model = load_model(packed.checkpoint)
    images = np.stack([np.zeros((*model.input_shape[1:], model.input_shape[0]), np.uint8)] * 2)
    export_onnx(model, tmp_path / "model.onnx", images, {})
    paths = [str(path) for path in packed.files]
    by_onnx = np.stack(list(predict_images(load_onnx(tmp_path / "model.onnx"), paths, 3)))  # type: ignore[arg-type]
    np.testing.assert_allclose(by_onnx, wanted, rtol=0, atol=1e-5)
    table = pd.DataFrame({"image": [text_of(path) for path in packed.files]})
    by_mlflow = shares_of(load(packed.folder).predict(table), packed.classes)
    np.testing.assert_allclose(by_mlflow, wanted, rtol=0, atol=1e-6)
    server, url = server_of(packed.folder, tmp_path)
    with server:
        for form in REQUESTS.values():
            status, answer = ask(url, form([text_of(path) for path in packed.files]))
            assert status == 200
            shares = shares_of(answer["predictions"], packed.classes)
            np.testing.assert_allclose(shares, wanted, rtol=0, atol=1e-6)
        arrays = [np.asarray(Image.open(path)).tolist() for path in packed.files]
        if kind == "digits":  # what a file says of its orientation, an array does not
            status, answer = ask(url, {"dataframe_records": [{"image": array} for array in arrays]})
            np.testing.assert_allclose(shares_of(answer["predictions"], DIGITS), wanted, rtol=0, atol=1e-6)
        status, answer = ask(url, {"dataframe_records": [{"image": text_of(packed.files[0])}, {"image": "iVBORw0"}]})
        assert status == 400
        assert answer["error_code"] == "INVALID_PARAMETER_VALUE"
        assert "row 1: wrong format: a text must be an image in base64" in answer["message"]
        assert ask(url, {"dataframe_records": [{"picture": "x"}]})[0] == 400


@pytest.mark.slow
def test_the_model_that_a_pipeline_logs_is_served_with_the_predictions_of_evaluate(
    finished: Project, tmp_path: Path
) -> None:
    run = json.loads((finished.root / "models" / "run.json").read_text("utf-8"))
    client = mlflow.MlflowClient(f"sqlite:///{finished.root}/mlruns/mlflow.db")
    experiment = client.get_run(run["run_id"]).info.experiment_id
    (logged,) = client.search_logged_models([experiment], f"source_run_id = '{run['run_id']}'")
    folder = Path(logged.artifact_location.removeprefix("file://"))
    images = np.load(finished.root / "data" / "prepared" / "test" / "images.npy")
    with (finished.root / "reports" / "evaluation" / "predictions.csv").open(encoding="utf-8") as file:
        scored = pd.read_csv(file)
    server, url = server_of(folder, tmp_path)
    with server:
        status, answer = ask(url, {"inputs": [{"image": image[..., 0].tolist()} for image in images]})
    assert status == 200
    shares = shares_of(answer["predictions"], DIGITS)
    np.testing.assert_allclose(shares, scored.filter(regex=r"^p\(").to_numpy(), rtol=0, atol=1e-6)
    assert [int(row["class"]) for row in answer["predictions"]] == scored["prediction"].tolist()
