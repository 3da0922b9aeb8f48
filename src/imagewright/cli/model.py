"""Which model a command means."""

from __future__ import annotations

from pathlib import Path

from imagewright.errors import ConfigError, DataError
from imagewright.evaluation.images import Model
from imagewright.names import shown
from imagewright.stages.project import find_project

__all__ = ["CHECKPOINT", "HELP", "ONNX", "find_model", "is_there", "load"]

CHECKPOINT, ONNX = "best.ckpt", "model.onnx"
HELP = (
    "a checkpoint, an ONNX file, a folder that holds one (of runs/ or exports/), an MLflow run (its id, the start of "
    "it, or its name) or a registered model such as champion (default: that of the last `dvc repro`)"
)
# Where a folder has its model: an export, a training, a model that MLflow has downloaded.
_PLACES = (ONNX, CHECKPOINT, f"artifacts/{CHECKPOINT}")
_SMALL_PIXELS = 16 * 16


def find_model(text: str | None) -> Path:
    """The file of the model that ``--model`` names.

    Raises:
        DataError: there is no such model.
        ConfigError: a project is needed, and there is none.
        TrackingError: MLflow was asked and does not answer.
    """
    if text is None:
        try:
            checkpoint = find_project().paths["models"] / CHECKPOINT
        except ConfigError as error:
            raise ConfigError(f"--model: is needed where there is no project ({error})") from error
        # It is written at the end of a training, the checkpoint after each better epoch.
        if checkpoint.is_file() and not checkpoint.with_name("run.json").is_file():
            raise DataError(
                f"{shown(str(checkpoint))}: its training did not come to its end; run `dvc repro`, or name the file by "
                f"--model to use it all the same"
            )
        return checkpoint
    path = Path(text)
    if is_there(text):
        return _inside(path) if path.is_dir() else path
    if path.suffix in (".ckpt", ".onnx"):
        raise DataError(f"--model: {shown(text)}: no such file; name one that is there, or an MLflow run")
    # MLflow takes a second to import.
    from imagewright.tracking.lookup import model_of

    return model_of(find_project().root, text)


def is_there(text: str) -> bool:
    """Whether a text is the path of a file or folder; any text may be asked for."""
    try:
        Path(text).stat()
    except OSError:
        return False
    return True


def _inside(folder: Path) -> Path:
    for place in _PLACES:
        if (folder / place).is_file():
            return folder / place
    jobs = sorted(shown(path.parent.name) for path in folder.glob(f"*/{CHECKPOINT}"))
    hint = f"name one of the folders in it: {', '.join(jobs)}" if jobs else "name a folder of runs/ or exports/"
    raise DataError(f"--model: {shown(str(folder))}: holds no {CHECKPOINT} and no {ONNX}; {hint}")


def load(path: Path) -> Model:
    """Load a checkpoint or an ONNX file.

    Raises:
        DataError: it is missing or broken.
    """
    # torch takes a second to import, ONNX Runtime a quarter of one.
    if path.suffix == ".onnx":
        from imagewright.models.exported import load_onnx

        return load_onnx(path)
    import torch

    from imagewright.models.saved import load_model

    model = load_model(path)
    _, height, width = model.input_shape
    if height * width < _SMALL_PIXELS:
        # As in training: threads of so little work wait for each other, and beside the processes that read images,
        # they take several times as long as one.
        torch.set_num_threads(1)
    return model
