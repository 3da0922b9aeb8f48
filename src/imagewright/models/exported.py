"""A model as one ONNX file, which knows its classes and preprocessing, and where it comes from.

The graph takes ``images``, raw pixels uint8 (B, H, W, C), and gives ``probabilities``, float32 (B, K); B is free.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch
from torch import Tensor, nn

from imagewright.errors import DataError
from imagewright.models.saved import SavedModel, as_preprocessing

__all__ = ["INPUT", "OUTPUT", "ExportedModel", "Parity", "export_onnx", "load_onnx"]

INPUT, OUTPUT = "images", "probabilities"
# Greatest difference of a probability that rounding in another order may make.
_TOLERANCE = 1e-5
# Images that go through the graph at once when it is compared, and how many batches of each but the last size.
_BATCH_SIZES, _BATCHES = (1, 2, 7, 64), 8
_MOST_BYTES = 2**31 - 2**20  # a file of protobuf has less than 2 GiB; some room is for the graph
_DOCUMENTED = ("classes", "input_shape", "preprocessing", "provenance")


@dataclass(frozen=True)
class Parity:
    """How the exported model compares with the saved one.

    Attributes:
        images: that both were asked for.
        batch_sizes: in which the exported one got them.
        difference: the greatest one of a probability.
    """

    images: int
    batch_sizes: tuple[int, ...]
    difference: float


@dataclass(frozen=True)
class ExportedModel:
    """An ONNX file, ready to predict on the CPU; the other attributes as those of a saved model.

    Attributes:
        session: runs the graph.
        classes: K names.
        input_shape: (C, H, W).
        preprocessing: what brings an image to that shape.
        provenance: where the model comes from.
    """

    session: Any
    classes: list[str]
    input_shape: tuple[int, int, int]
    preprocessing: dict[str, Any]
    provenance: dict[str, Any]

    def probabilities(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Probabilities (B, K) of images (B, H, W, C)."""
        shares: npt.NDArray[np.float32] = self.session.run([OUTPUT], {INPUT: images})[0]
        return shares


def export_onnx(model: SavedModel, path: Path, images: npt.NDArray[np.uint8], provenance: Mapping[str, Any]) -> Parity:
    """Write a model as ONNX, once it gave the probabilities of the saved one for real images.

    Args:
        model: as loaded.
        path: of the file that is written.
        images: N real images (N, H, W, C), one at least.
        provenance: where the model comes from, in values of JSON.

    Raises:
        DataError: the network cannot be written as ONNX, or gives other probabilities then.
    """
    size = sum(tensor.nbytes for tensor in model.network.state_dict().values())
    if size > _MOST_BYTES:
        raise DataError(
            f"model: must have less than 2 GiB of weights to fit into an ONNX file, got {size / 2**30:.1f}; choose a "
            f"smaller network"
        )
    content = _as_onnx(model, provenance)
    parity = _compare(model, _from_bytes(content), images)
    path.write_bytes(content)
    return parity


class _FromImages(nn.Module):
    """A network between what is stored and what is asked for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        # Contiguous, so that the normalization takes its way for one plain order of memory.
        return torch.softmax(self.network(images.permute(0, 3, 1, 2).contiguous()), dim=1)


def _as_onnx(model: SavedModel, provenance: Mapping[str, Any]) -> bytes:
    channels, height, width = model.input_shape
    # Not one image: torch would take that number for fixed.
    example = torch.zeros(2, height, width, channels, dtype=torch.uint8)
    try:
        with _quiet():
            program = torch.onnx.export(
                _FromImages(model.network).eval(),
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise DataError(f"model: the network cannot be written as ONNX ({reason}); choose another one") from error
    assert program is not None
    proto = program.model_proto
    graph = proto.graph
    # Notes for those who debug the exporter, with paths of this machine among them, in most of the bytes.
    for part in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    described = (model.classes, model.input_shape, model.preprocessing, provenance)
    for key, value in zip(_DOCUMENTED, described, strict=True):
        proto.metadata_props.add(key=key, value=json.dumps(value))
    content: bytes = proto.SerializeToString()
    return content


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of packages that nobody asked for, and warns of in its own code."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _compare(model: SavedModel, exported: ExportedModel, images: npt.NDArray[np.uint8]) -> Parity:
    """Ask both for the same images.

    Raises:
        DataError: their answers differ.
    """
    worst = 0.0
    for size in _BATCH_SIZES:
        asked = images if size == _BATCH_SIZES[-1] else images[: size * _BATCHES]
        for first in range(0, len(asked), size):
            batch = asked[first : first + size]
            expected, given = model.probabilities(batch), exported.probabilities(batch)
            difference = float(np.abs(expected - given).max())
            if not difference <= _TOLERANCE or not _same_classes(expected, given):
                raise DataError(
                    f"model: as ONNX it must give the probabilities of the checkpoint within {_TOLERANCE:g}, but in a "
                    f"batch of {len(batch)} they differ by {difference:g}; nothing was written; choose another network"
                )
            worst = max(worst, difference)
    return Parity(len(images), _BATCH_SIZES, worst)


def _same_classes(expected: npt.NDArray[np.float32], given: npt.NDArray[np.float32]) -> bool:
    """Whether the most probable classes are the same, or as good as equally probable."""
    rows = np.arange(len(expected))
    lost = expected.max(axis=1) - expected[rows, given.argmax(axis=1)]
    return bool((lost <= _TOLERANCE).all())


def load_onnx(path: Path) -> ExportedModel:
    """Load a file that :func:`export_onnx` has written.

    Raises:
        DataError: the file is missing, broken, or not one of imagewright.
    """
    try:
        return _from_bytes(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: not found; `imagewright export` writes such a file") from error
    # The runtime raises kinds of its own, which have no common ancestor but this one.
    except Exception as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise DataError(
            f"{path}: is no ONNX file that `imagewright export` has written ({reason}); export the model again"
        ) from error


def _from_bytes(content: bytes) -> ExportedModel:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of what it cannot optimize
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    written = session.get_modelmeta().custom_metadata_map
    if missing := [key for key in _DOCUMENTED if key not in written]:
        raise ValueError(f"it does not say its {missing[0]}")
    classes, shape, preprocessing, provenance = (json.loads(written[key]) for key in _DOCUMENTED)
    channels, height, width = shape
    _check_ends(session, [height, width, channels], len(classes))
    return ExportedModel(
        session,
        [str(name) for name in classes],
        (channels, height, width),
        as_preprocessing(preprocessing),
        dict(provenance),
    )


def _check_ends(session: Any, shape: Sequence[int], classes: int) -> None:
    """That what goes in and comes out is what the file says."""
    ends = [(end.name, end.type, end.shape[1:]) for end in (*session.get_inputs(), *session.get_outputs())]
    expected = [(INPUT, "tensor(uint8)", list(shape)), (OUTPUT, "tensor(float)", [classes])]
    if ends != expected:
        raise ValueError(f"its ends are {ends}, not {expected}")
