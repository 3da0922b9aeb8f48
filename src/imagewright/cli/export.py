"""Writes a model as ONNX, in a folder that has all that its use needs, without imagewright."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from imagewright import __version__
from imagewright.cli.model import HELP, ONNX, find_model, is_there
from imagewright.data.decoding import Form, decode
from imagewright.data.sources import Refused
from imagewright.data.sources.files import walk
from imagewright.data.store import read_split
from imagewright.errors import ConfigError, DataError
from imagewright.names import shown
from imagewright.stages.project import Project, find_project
from imagewright.tracking.provenance import digest_of

__all__ = ["run"]

_DESCRIPTION, _README = "model.json", "README.md"
_WRITTEN = {ONNX, _DESCRIPTION, _README}
_IMAGES = 256  # that checkpoint and ONNX are compared by
_LETTERS = 60  # of the name of a folder; each may take four bytes, of 255
# What run.json says of a run, and a model should say of itself.
_KNOWN = ("run_id", "run_name", "key", "when", "command", "commit", "dirty", "config_sha256", "data")


def run(arguments: Sequence[str]) -> None:
    """Write the folder, whole or not at all."""
    parser = argparse.ArgumentParser(
        prog="imagewright export",
        description="Write a model as ONNX, with class names, preprocessing and code that uses it without imagewright.",
    )
    parser.add_argument("--model", metavar="RUN|FILE", help=HELP)
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder that is written (default: exports/<name>)")
    parser.add_argument(
        "--images",
        type=Path,
        metavar="FOLDER",
        help="real images, by which the ONNX file is compared with the checkpoint (default: the test images of the "
        "project)",
    )
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    given = parser.parse_args(arguments)
    checkpoint = find_model(given.model)
    if checkpoint.suffix == ".onnx":
        raise ConfigError(f"--model: {shown(str(checkpoint))} is an ONNX file already; name a checkpoint or a run")
    project = _project()
    provenance = _provenance(checkpoint, given.model, project)
    name = _folder_name(str(provenance.get("run_name") or checkpoint.stem))
    out = (given.out or (project.root if project else Path.cwd()) / "exports" / name).absolute()
    _check_out(out, force=given.force)
    # torch takes a second to import: only for a command that is right.
    from imagewright.models.exported import INPUT, OUTPUT, export_onnx
    from imagewright.models.saved import load_model

    model = load_model(checkpoint)
    form = Form.of(model.input_shape, model.preprocessing)
    images = _test_images(project, form) if given.images is None else _images_of(given.images, form)
    partial = out.with_name(f"{out.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        parity = export_onnx(model, partial / ONNX, images, provenance)
        description = {
            "classes": model.classes,
            "input": {"name": INPUT, "type": "uint8", "shape": ["B", form.height, form.width, form.channels]},
            "output": {"name": OUTPUT, "type": "float32", "shape": ["B", len(model.classes)]},
            "preprocessing": model.preprocessing,
            "provenance": provenance,
            "compared": vars(parity),
        }
        _write(partial / _README, _readme(form, model.classes, provenance))
        description["files"] = {name: digest_of(partial / name) for name in (ONNX, _README)}
        _write(partial / _DESCRIPTION, json.dumps(description, indent=2, ensure_ascii=False) + "\n")
        _replace(partial, out)
    except OSError as error:
        raise ConfigError(f"--out: {shown(str(out))} cannot be written ({error}); give another folder") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(
        f"exported to {shown(str(out))}; on {parity.images} images its probabilities are those of the checkpoint "
        f"within {parity.difference:.1g}"
    )


def _project() -> Project | None:
    try:
        return find_project()
    except ConfigError:
        return None


def _provenance(checkpoint: Path, text: str | None, project: Project | None) -> dict[str, Any]:
    """What made the checkpoint, as far as it is known."""
    digest = digest_of(checkpoint) if checkpoint.is_file() else ""
    known = _beside(checkpoint, digest)
    if not known and project is not None and text is not None and not is_there(text):
        # It came from MLflow, which knows its run.
        from imagewright.tracking.lookup import makers_of
        from imagewright.tracking.store import open_store

        for maker in makers_of(open_store(project.root), digest)[:1]:
            known = {
                "run_id": maker.run_id,
                "run_name": maker.name,
                "commit": maker.tags.get("mlflow.source.git.commit"),
            }
    return {"imagewright": __version__, "sha256": digest, **known}


def _beside(checkpoint: Path, digest: str) -> dict[str, Any]:
    """What run.json says, if it is about this very file."""
    try:
        record = json.loads(checkpoint.with_name("run.json").read_text("utf-8"))
        if record["files"][checkpoint.name] == digest:
            return {name: record[name] for name in _KNOWN if name in record}
    except (OSError, ValueError, LookupError, TypeError):  # none, or of an earlier version
        pass
    return {}


def _folder_name(text: str) -> str:
    return re.sub(r"[^\w.=+-]+", "_", text).strip("._")[:_LETTERS] or "model"


def _check_out(out: Path, *, force: bool) -> None:
    """Refuse a place that holds what must not be lost."""
    if out.is_dir():
        there = {path.name for path in out.iterdir()}
        if there and not force:
            raise ConfigError(f"--out: {shown(str(out))} is not empty; give another folder, or --force to replace it")
        if others := sorted(there - _WRITTEN):
            raise ConfigError(
                f"--out: {shown(str(out))} holds more than an export ({shown(others[0])}), which --force does not "
                f"delete; give another folder"
            )
    elif out.exists() or out.is_symlink():
        raise ConfigError(f"--out: {shown(str(out))} must be a folder or missing, and is neither; give another one")


def _replace(partial: Path, out: Path) -> None:
    old = out.with_name(f"{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.replace(old)
    partial.replace(out)
    shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, text: str) -> None:
    # What is no UTF-8 in a name becomes an escape, which JSON reads as what it was.
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


# --- the images by which it is compared -------------------------------------------------------------------------------


def _test_images(project: Project | None, form: Form) -> npt.NDArray[np.uint8]:
    """Test images of the project, spread over all of them, uint8 (N, H, W, C)."""
    if project is None:
        raise ConfigError("--images: is needed where there is no project, to compare by; name a folder of images")
    images, labels = read_split(project.paths["prepared"] / "test")
    shape = (form.height, form.width, form.channels)
    if not len(labels) or images.shape[1:] != shape:
        raise DataError(
            f"--images: is needed, for the {len(labels)} test images of the project are of (H, W, C) "
            f"{images.shape[1:]} and the model takes {shape}; name a folder of images"
        )
    rows = np.linspace(0, len(labels) - 1, min(_IMAGES, len(labels))).astype(np.int64)
    return images[rows]


def _images_of(folder: Path, form: Form) -> npt.NDArray[np.uint8]:
    """The first usable images of a folder, uint8 (N, H, W, C)."""
    usable = []
    for found in walk(folder):
        if not found.ignored and not found.refused:
            decoded = decode(f"{folder}/{found.path}", form)
            if not isinstance(decoded, Refused):
                usable.append(decoded.pixels)
        if len(usable) == _IMAGES:
            break
    if not usable:
        raise DataError(f"--images: {shown(str(folder))} holds no usable image; name another folder")
    return np.stack(usable)


# --- the README -------------------------------------------------------------------------------------------------------

_CROP = """\
    image = ImageOps.fit(image, ({width}, {height}), Image.Resampling.BICUBIC)  # the middle of the longer side
"""
_STRETCH = """\
    image = image.resize(({width}, {height}), Image.Resampling.BICUBIC, reducing_gap=3)
"""
_PAD = """\
    scale = min({width} / image.width, {height} / image.height)
    width, height = (max(1, round(side * scale)) for side in image.size)
    inner = image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    image = Image.new("RGB", ({width}, {height}), {background})
    image.paste(inner, (({width} - width) // 2, ({height} - height) // 2))
"""
_FITS = {"crop": _CROP, "pad": _PAD, "stretch": _STRETCH}

_TEXT = """\
# An image classifier

`model.onnx` takes `images`, uint8 (B, {height}, {width}, {channels}): raw pixels from 0 to 255, {colours}. It gives
`probabilities`, float32 (B, {classes}). The input normalization is in it. `model.json` has the names of the classes,
what brings an image to that shape, and where the model comes from; so has the ONNX file, in its metadata.

With `pip install numpy onnxruntime pillow`, in this folder:

```python
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

classes = json.loads(Path("model.json").read_text("utf-8"))["classes"]
session = onnxruntime.InferenceSession("model.onnx")


def pixels(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, {background}), image).convert("RGB")
{fit}    return {array}


(probabilities,) = session.run(None, {{"images": np.stack([pixels("image.png")])}})
for index in probabilities[0].argsort()[::-1][:3]:
    print(f"{{classes[index]}}: {{probabilities[0, index]:.2%}}")
```

This is what imagewright does with images of 8 bits; it differs by about a grey level where imagewright decodes a large
JPEG at a part of its size. Images of 16 bits or float are to be brought to 8 bits first.

Classes, by their index:

{listed}

Where it comes from:

{provenance}
"""


def _readme(form: Form, classes: Sequence[str], provenance: Mapping[str, Any]) -> str:
    numbers = {"height": form.height, "width": form.width, "background": form.background}
    grey = form.channels == 1
    return _TEXT.format(
        **numbers,
        channels=form.channels,
        classes=len(classes),
        colours="grey" if grey else "red, green and blue",
        fit=_FITS[form.fit].format(**numbers),
        array='np.asarray(image.convert("L"))[..., None]' if grey else "np.asarray(image)",
        listed=_indented(f"{index:>{len(str(len(classes) - 1))}}  {shown(name)}" for index, name in enumerate(classes)),
        provenance=_indented(
            f"{key}: {shown(str(value))}" for key, value in provenance.items() if not isinstance(value, Mapping)
        ),
    )


def _indented(lines: Iterable[str]) -> str:
    """As code, in which Markdown leaves all that names may hold as it is."""
    return "\n".join(f"    {line}" for line in lines)
