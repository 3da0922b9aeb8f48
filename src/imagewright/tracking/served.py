"""The model as MLflow loads and serves it: images in, names of classes and probabilities out.

MLflow runs a copy of this file that lies beside the model (``packing.py``): nothing of a model is pickled but the
tensors of its checkpoint. A request is a table with the column ``image``:

| cell | what it holds |
|---|---|
| text | a file of an image (JPEG, PNG, ...) in base64, also with ``data:image/png;base64,`` before it |
| bytes | a file of an image |
| nested lists, or an array of NumPy | pixels (H, W) or (H, W, C), C 1 (grey), 3 (RGB) or 4 (RGB and alpha) |

Whole numbers are pixel values from 0 to 255; in arrays of uint16, up to 65535. Floats count from 0 to 1 if none is
greater, and else from 0 to 255, unless the model was trained with ``value_range: image``. Any size will do: what
becomes of an image is what prepare made of those that the model was trained on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd  # type: ignore[import-untyped]
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from imagewright.data.decoding import Form, decode
from imagewright.data.sources import Refused

__all__ = ["ServedModel"]

_BATCH = 64  # images that go through the network at once
_NAMED = 5  # bad images that an error names
_MOST_LETTERS = 200  # of what an error repeats


class ServedModel(PythonModel):
    """A checkpoint behind the decoder of imagewright."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint among the artifacts."""
        # torch takes a second to import, and who packs a model runs this file, too.
        from imagewright.models.saved import load_model

        self._model = load_model(Path(context.artifacts["checkpoint"]))
        self._form = Form.of(self._model.input_shape, self._model.preprocessing)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Class, its probability, and the probability of each class, for each row.

        Args:
            context: of the model.
            model_input: N rows with the column image.
            params: none are known.

        Raises:
            MlflowException: images cannot be used; it names their rows, counted from 0. A server answers 400.
        """
        images = self._images(_cells(model_input["image"].tolist()))
        rows: list[tuple[str, float, dict[str, float]]] = []
        for first in range(0, len(images), _BATCH):
            rows += map(self._answer, self._model.probabilities(np.stack(images[first : first + _BATCH])))
        return pd.DataFrame(rows, columns=["class", "probability", "probabilities"])

    def _images(self, cells: Sequence[Any]) -> list[npt.NDArray[np.uint8]]:
        """The pixels (H, W, C) of each cell."""
        decoded = [_decoded(cell, self._form) for cell in cells]
        bad = {row: image for row, image in enumerate(decoded) if isinstance(image, Refused)}
        if bad:
            words = [f"row {row}: {why.reason}: {why.detail}" for row, why in islice(bad.items(), _NAMED)]
            words += [f"and {len(bad) - _NAMED} more"] * (len(bad) > _NAMED)
            raise MlflowException.invalid_parameter_value(f"image: {'; '.join(words)}; mend them, or leave them out")
        return [image for image in decoded if not isinstance(image, Refused)]

    def _answer(self, shares: npt.NDArray[np.float32]) -> tuple[str, float, dict[str, float]]:
        values = shares.tolist()
        best = int(shares.argmax())
        return self._model.classes[best], values[best], dict(zip(self._model.classes, values, strict=True))


def _cells(column: list[Any]) -> list[Any]:
    # MLflow takes {"inputs": {"image": [text, text]}} for one row.
    if len(column) == 1 and isinstance(column[0], list) and any(isinstance(part, str) for part in column[0]):
        only: list[Any] = column[0]
        return only
    return column


def _decoded(cell: Any, form: Form) -> npt.NDArray[np.uint8] | Refused:
    """The pixels (H, W, C) of a cell, or why it cannot be used."""
    try:
        # A text is never a path: a request must not read the files of a server.
        raw = _content(cell) if isinstance(cell, str) else cell if isinstance(cell, bytes) else _array(cell)
    except ValueError as error:
        return Refused("wrong format", str(error))
    decoded = decode(raw, form)
    return decoded if isinstance(decoded, Refused) else decoded.pixels


def _content(text: str) -> bytes:
    head, comma, body = text.partition(",")
    if text.startswith("data:") and not (comma and head.endswith(";base64")):
        raise ValueError(f"a data: URI must have ;base64, before its data, got {head[:_MOST_LETTERS]!r}")
    try:
        return base64.b64decode("".join((body if comma else text).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"a text must be an image in base64, got {text[:40]!r}... ({error})") from error


def _array(cell: Any) -> npt.NDArray[Any]:
    if not isinstance(cell, list | tuple | np.ndarray):
        raise ValueError(f"must be base64 text, bytes or an array of pixels, got {str(cell)[:_MOST_LETTERS]!r}")
    try:
        # pandas and Parquet have arrays of arrays.
        array = np.asarray(cell.tolist() if isinstance(cell, np.ndarray) and cell.dtype == object else cell)
    except ValueError as error:
        raise ValueError("rows of pixels must be of equal length") from error
    if np.issubdtype(array.dtype, np.integer) and array.dtype not in (np.uint8, np.uint16):
        if array.size and (array.min() < 0 or array.max() > 255):
            raise ValueError(f"whole numbers must be from 0 to 255, got {array.min()} to {array.max()}")
        array = array.astype(np.uint8)
    return array


mlflow.models.set_model(ServedModel())
