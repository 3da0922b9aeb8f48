"""A checkpoint as a folder that MLflow can load, serve and deploy where imagewright is not installed.

MLmodel                 signature, classes, input shape and preprocessing
served.py               what MLflow runs: a copy of the module of that name
code/imagewright/       the modules that it imports
artifacts/best.ckpt     the checkpoint
requirements.txt        what else must be installed, in the versions that ran here
input_example.json      a request
"""

from __future__ import annotations

import base64
import collections
import logging
import os
import pickle
import shutil
import tempfile
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
from mlflow.models import ModelSignature
from mlflow.types.schema import AnyType, ColSpec, DataType, Map, Schema

import imagewright

__all__ = ["REQUIREMENTS", "pack_model"]

# What served.py and the modules that it imports need.
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pillow", "simplejpeg", "torch")
_PACKAGE = Path(imagewright.__file__).parent
# The decoder, all networks, and what networks may import. Not the whole package: each file is a request to a server.
_CODE = ("*.py", "models/*.py", "data/__init__.py", "data/decoding.py", "data/sources/__init__.py")
_CHECKPOINT = "best.ckpt"


def pack_model(folder: Path, checkpoint: Path, example: Path) -> None:
    """Write the folder.

    Args:
        folder: must be empty or missing.
        checkpoint: of imagewright.
        example: file of an image that shows what the model takes.
    """
    # It says that it looks at the example, and shows a bar for copying one file.
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    made = _hyperparameters(checkpoint)
    row = {"image": base64.b64encode(example.read_bytes()).decode("ascii")}
    with tempfile.TemporaryDirectory() as name:
        # Under the names that they are to have in the folder, wherever they come from.
        renamed, code = Path(name) / _CHECKPOINT, Path(name) / _PACKAGE.name
        shutil.copyfile(checkpoint, renamed)
        _copy_code(code)
        mlflow.pyfunc.save_model(
            folder,
            python_model=_PACKAGE / "tracking" / "served.py",
            artifacts={"checkpoint": str(renamed)},
            code_paths=[str(code)],
            signature=_signature(),
            input_example=[row],
            # Otherwise MLflow loads the model in another process to find out what it imports.
            pip_requirements=_pinned(),
            metadata={name: made[name] for name in ("classes", "input_shape", "preprocessing")},
        )


def _copy_code(target: Path) -> None:
    for pattern in _CODE:
        for path in _PACKAGE.glob(pattern):
            copy = target / path.relative_to(_PACKAGE)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _signature() -> ModelSignature:
    # Any type, because a signature cannot say "text or array".
    inputs = Schema([ColSpec(AnyType(), "image")])  # type: ignore[no-untyped-call]
    outputs = Schema(
        [
            ColSpec(DataType.string, "class"),
            ColSpec(DataType.double, "probability"),
            ColSpec(Map(DataType.double), "probabilities"),
        ]
    )
    return ModelSignature(inputs, outputs)


def _pinned() -> list[str]:
    # A build of torch for this machine ("+cpu") is not to be had everywhere.
    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


def _hyperparameters(checkpoint: Path) -> Any:
    """What a checkpoint says of itself, without torch, which takes longer to import than all the rest."""
    with zipfile.ZipFile(checkpoint) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(name) as file:
            return _PlainValues(file).load()["hyper_parameters"]


class _PlainValues(pickle.Unpickler):
    """Reads plain values; whatever else a file names is passed over, and none of it is looked up or called."""

    def find_class(self, module: str, name: str) -> Any:
        return collections.OrderedDict if (module, name) == ("collections", "OrderedDict") else _Nothing

    def persistent_load(self, reference: Any) -> None:
        return None


class _Nothing:
    """Stands for any object but a plain value."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...
