"""What every section may hold: keys, types and ranges.

Each class is a structured config of OmegaConf, which checks keys and types; a ``Rule`` beside the type is what the
values keep. A section with a ``_target_`` has the schema of that target; targets without one (another optimizer of
``torch.optim``, say) keep their keys unchecked until they are built.

What a key means, what it counts and its unit stand beside it in ``conf/``.
"""

# Without `from __future__ import annotations`: the rules stand inside the annotations and need the names around them.
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

__all__ = ["SECTIONS", "TARGETS", "Root", "Rule"]


@dataclass(frozen=True)
class Rule:
    """A condition on a value, and the words that complete "must be ..."."""

    words: str
    holds: Callable[[Any], bool]


def at_least(low: float) -> Rule:
    return Rule(f"{low:g} or more", lambda value: value >= low)


def above(low: float) -> Rule:
    return Rule(f"above {low:g}", lambda value: value > low)


def share(*, one: bool = True) -> Rule:
    if one:
        return Rule("from 0 to 1", lambda value: 0 <= value <= 1)
    return Rule("0 or more and below 1", lambda value: 0 <= value < 1)


def one_of(*names: str) -> Rule:
    return Rule(f"one of {', '.join(names)}", lambda value: value in names)


def whole(low: int) -> Rule:
    return Rule(f"a whole number, {low} or more", lambda value: _is_whole(value) and value >= low)


def null_or(rule: Rule) -> Rule:
    return Rule(f"null, or {rule.words}", lambda value: value is None or rule.holds(value))


def each(rule: Rule, *, of: str, length: int | None = None, empty: bool = False) -> Rule:
    """Every element keeps ``rule``."""
    count = f"{length} {of}" if length else f"a list of {of}" if empty else f"one or more {of}"

    def holds(values: Any) -> bool:
        right_length = len(values) == length if length else (empty or len(values) > 0)
        return right_length and all(rule.holds(value) for value in values)

    return Rule(f"{count}, each {rule.words}", holds)


def interval(rule: Rule, *, of: str) -> Rule:
    """Two numbers, the first not above the second, each keeping ``rule``."""
    return Rule(
        f"two {of}, the smaller first, each {rule.words}",
        lambda pair: len(pair) == 2 and pair[0] <= pair[1] and all(rule.holds(value) for value in pair),
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# --- data -------------------------------------------------------------------------------------------------------------


@dataclass
class Split:
    validation: Annotated[float, Rule("above 0 and below 1", lambda value: 0 < value < 1)]
    test: Annotated[float, Rule("above 0 and below 1", lambda value: 0 < value < 1)]


@dataclass
class Checks:
    max_pixels: Annotated[int, whole(1)]
    min_side: Annotated[int, whole(1)]
    max_rejected: Annotated[
        Any,
        null_or(
            Rule(
                "a share from 0 to below 1, or a whole number of images",
                lambda value: _is_number(value) and value >= 0 and (value < 1 or float(value).is_integer()),
            )
        ),
    ]


@dataclass
class Duplicates:
    near: bool
    max_distance: Annotated[int, Rule("a number of bits from 0 to 16", lambda value: 0 <= value <= 16)]
    min_correlation: Annotated[float, Rule("above 0 and at most 1", lambda value: 0 < value <= 1)]
    conflicts: Annotated[str, one_of("keep", "drop_exact", "drop")]


@dataclass
class Data:
    """What all sources have in common."""

    _target_: str
    image_size: Annotated[list[int], each(whole(1), of="sides in pixels, [height, width]", length=2)]
    channels: Annotated[
        Any, Rule("auto, 1 or 3", lambda value: value == "auto" or (_is_whole(value) and value in (1, 3)))
    ]
    fit: Annotated[str, one_of("crop", "pad", "stretch")]
    background: Annotated[
        list[int],
        each(Rule("from 0 to 255", lambda value: 0 <= value <= 255), of="colours, [red, green, blue]", length=3),
    ]
    value_range: Annotated[str, one_of("type", "image")]
    checks: Checks
    duplicates: Duplicates
    empty_class: Annotated[str, one_of("error", "leave_out")]
    split: Split


@dataclass
class Digits(Data):
    image_size: Annotated[
        list[int], Rule("[8, 8], the size of scikit-learn's digits", lambda size: list(size) == [8, 8])
    ]
    channels: Annotated[int, Rule("1, the digits are grey", lambda value: value == 1)]


def path_of(words: str) -> Rule:
    return Rule(f"the path of {words}", lambda value: bool(value.strip()))


_COLUMN = null_or(Rule("the name of a column", lambda value: bool(value.strip())))
_CLASS_NAMES = Rule(
    "null, or a list of names, each not empty",
    lambda names: (
        names is None or (isinstance(names, list) and len(names) > 0 and all(str(name).strip() for name in names))
    ),
)


@dataclass
class Folder(Data):
    path: Annotated[str, path_of("a folder")]


@dataclass
class Csv(Data):
    path: Annotated[str, path_of("a CSV file or of a folder with metadata.csv")]
    path_column: Annotated[str | None, _COLUMN]
    label_column: Annotated[str | None, _COLUMN]
    split_column: Annotated[str | None, _COLUMN]
    group_column: Annotated[str | None, _COLUMN]
    root: Annotated[str | None, null_or(path_of("a folder"))]
    allow_outside: bool
    delimiter: Annotated[
        str | None,
        null_or(
            Rule(
                "one character that is no quote, space or line end",
                lambda value: len(value) == 1 and value not in '" \r\n',
            )
        ),
    ]


@dataclass
class Idx(Data):
    path: Annotated[str, path_of("a folder")]
    classes: Annotated[Any, _CLASS_NAMES]
    transpose: bool


@dataclass
class Cifar(Data):
    path: Annotated[str, path_of("a folder")]
    labels: Annotated[str, one_of("fine", "coarse")]


@dataclass
class Npz(Data):
    path: Annotated[str, path_of("an .npz file")]
    classes: Annotated[Any, _CLASS_NAMES]


@dataclass
class Parquet(Data):
    path: Annotated[str, path_of("a .parquet file or of a folder of them")]
    image_column: Annotated[str | None, _COLUMN]
    label_column: Annotated[str | None, _COLUMN]


# --- normalize --------------------------------------------------------------------------------------------------------


@dataclass
class Normalize:
    scheme: Annotated[str, one_of("standard", "minmax", "none")]


# --- augment ----------------------------------------------------------------------------------------------------------


@dataclass
class Preview:
    images: Annotated[int, whole(1)]
    variants: Annotated[int, whole(1)]


@dataclass
class Augment:
    copies: Annotated[int, whole(0)]
    online: bool
    preview: Preview
    transforms: Annotated[Any, Rule("a mapping of names to transforms", lambda value: isinstance(value, dict))]


_OPENCV = Rule("a number of OpenCV from 0 to 4", lambda value: 0 <= value <= 4)


@dataclass
class Transform:
    _target_: str
    p: Annotated[float, share()]


@dataclass
class Rotate(Transform):
    limit: Annotated[float, Rule("degrees from 0 to 180", lambda value: 0 <= value <= 180)]
    interpolation: Annotated[int, _OPENCV]
    border_mode: Annotated[int, _OPENCV]
    fill: Annotated[float, Rule("a pixel value from 0 to 255", lambda value: 0 <= value <= 255)]


@dataclass
class Affine(Transform):
    translate_percent: Annotated[
        list[float], interval(Rule("from -1 to 1", lambda value: -1 <= value <= 1), of="shares of the image")
    ]
    scale: Annotated[list[float], interval(above(0), of="factors")]
    interpolation: Annotated[int, _OPENCV]
    border_mode: Annotated[int, _OPENCV]
    fill: Annotated[float, Rule("a pixel value from 0 to 255", lambda value: 0 <= value <= 255)]


@dataclass
class GaussianBlur(Transform):
    blur_limit: Annotated[
        int, Rule("0, or an odd kernel size in pixels", lambda value: value == 0 or (value > 0 and value % 2 == 1))
    ]
    sigma_limit: Annotated[list[float], interval(at_least(0), of="standard deviations in pixels")]


@dataclass
class GaussNoise(Transform):
    std_range: Annotated[list[float], interval(share(), of="shares of the full range of pixel values")]


@dataclass
class RandomBrightnessContrast(Transform):
    brightness_limit: Annotated[float, share()]
    contrast_limit: Annotated[float, share()]


# --- model ------------------------------------------------------------------------------------------------------------

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh")
_FILTERS = each(whole(1), of="numbers of filters")
_UNITS = each(whole(1), of="numbers of units", empty=True)


@dataclass
class CNN:
    _target_: str
    channels: Annotated[list[int], _FILTERS]
    kernel_size: Annotated[int, whole(1)]
    stride: Annotated[int, whole(1)]
    padding: Annotated[
        Any,
        Rule(
            "'same', 'valid' or a whole number of pixels, 0 or more",
            lambda value: value in ("same", "valid") or (_is_whole(value) and value >= 0),
        ),
    ]
    pooling: Annotated[str, one_of("max", "average", "none")]
    pool_size: Annotated[int, whole(1)]
    batch_norm: bool
    activation: Annotated[str, one_of(*ACTIVATIONS)]
    head: Annotated[str, one_of("global_average", "flatten")]
    hidden_units: Annotated[list[int], _UNITS]
    dropout: Annotated[float, share(one=False)]


@dataclass
class ResNet:
    _target_: str
    channels: Annotated[list[int], _FILTERS]
    blocks: Annotated[int, whole(1)]
    stem_stride: Annotated[int, whole(1)]
    activation: Annotated[str, one_of(*ACTIVATIONS)]
    dropout: Annotated[float, share(one=False)]


@dataclass
class MLP:
    _target_: str
    hidden_units: Annotated[list[int], _UNITS]
    batch_norm: bool
    activation: Annotated[str, one_of(*ACTIVATIONS)]
    dropout: Annotated[float, share(one=False)]


# --- optimizer and scheduler ------------------------------------------------------------------------------------------


@dataclass
class Adam:
    """Also AdamW, which has the same keys."""

    _target_: str
    lr: Annotated[float, above(0)]
    betas: Annotated[list[float], each(share(one=False), of="decay rates", length=2)]
    weight_decay: Annotated[float, at_least(0)]


@dataclass
class SGD:
    _target_: str
    lr: Annotated[float, above(0)]
    momentum: Annotated[float, share(one=False)]
    nesterov: bool
    weight_decay: Annotated[float, at_least(0)]


@dataclass
class OneCycle:
    _target_: str
    warmup: Annotated[float, Rule("above 0 and below 1", lambda value: 0 < value < 1)]
    start_divisor: Annotated[float, at_least(1)]
    end_divisor: Annotated[float, at_least(1)]


@dataclass
class Cosine:
    _target_: str
    warmup: Annotated[float, share(one=False)]
    end_share: Annotated[float, share()]


@dataclass
class Constant:
    _target_: str


# --- trainer and callbacks --------------------------------------------------------------------------------------------


@dataclass
class Trainer:
    max_epochs: Annotated[int, whole(1)]
    batch_size: Annotated[int, whole(1)]
    label_smoothing: Annotated[float, share(one=False)]
    class_weights: Annotated[str, one_of("none", "balanced")]
    gradient_clip: Annotated[float | None, null_or(above(0))]
    accelerator: Annotated[str, one_of("auto", "cpu", "gpu")]
    precision: Annotated[str, one_of("auto", "fp32", "bf16")]
    channels_last: Annotated[str, one_of("auto", "always", "never")]
    deterministic: bool
    threads: Annotated[int | None, null_or(whole(1))]
    loader_workers: Annotated[int, whole(0)]


MONITORS = ("validation/loss", "validation/accuracy", "train/loss", "train/accuracy")


@dataclass
class Callbacks:
    """Beside these two keys, any name with a callback, or null for none."""

    monitor: Annotated[str, one_of(*MONITORS)]
    mode: Annotated[str, one_of("min", "max")]


@dataclass
class EarlyStopping:
    _target_: str
    patience: Annotated[int, whole(1)]
    min_delta: Annotated[float, at_least(0)]


@dataclass
class ModelCheckpoint:
    _target_: str
    save_weights_only: bool


# --- evaluate and tracking --------------------------------------------------------------------------------------------


@dataclass
class Evaluate:
    batch_size: Annotated[int, whole(1)]
    top_k: Annotated[int, whole(2)]
    calibration_bins: Annotated[int, Rule("a whole number from 2 to 100", lambda value: 2 <= value <= 100)]
    confidence: Annotated[float, Rule("above 0 and below 1", lambda value: 0 < value < 1)]
    resamples: Annotated[int, whole(100)]
    gallery: Annotated[int, Rule("a whole number from 1 to 100", lambda value: 1 <= value <= 100)]
    dpi: Annotated[int, Rule("a whole number from 50 to 600", lambda value: 50 <= value <= 600)]


@dataclass
class Tracking:
    experiment: Annotated[str, Rule("a name", lambda value: bool(value.strip()))]
    run_name: Annotated[str | None, null_or(Rule("a name", lambda value: bool(value.strip())))]
    model: bool
    system_metrics: Annotated[float | None, null_or(at_least(0.1))]


@dataclass
class Root:
    """What stands beside the sections."""

    seed: Annotated[int, Rule("a whole number from 0 to 4294967295", lambda value: 0 <= value < 2**32)]


# Sections of fixed shape.
SECTIONS: dict[str, type] = {
    "normalize": Normalize,
    "augment": Augment,
    "trainer": Trainer,
    "callbacks": Callbacks,
    "evaluate": Evaluate,
    "tracking": Tracking,
}

# Sections, or parts of one, whose shape follows from the last part of their `_target_`.
TARGETS: dict[str, dict[str, type]] = {
    "data": {
        "Digits": Digits,
        "Folder": Folder,
        "Csv": Csv,
        "Idx": Idx,
        "Cifar": Cifar,
        "Npz": Npz,
        "Parquet": Parquet,
    },
    "augment": {
        "Rotate": Rotate,
        "Affine": Affine,
        "GaussianBlur": GaussianBlur,
        "GaussNoise": GaussNoise,
        "HorizontalFlip": Transform,
        "VerticalFlip": Transform,
        "RandomBrightnessContrast": RandomBrightnessContrast,
    },
    "model": {"CNN": CNN, "ResNet": ResNet, "MLP": MLP},
    "optimizer": {"Adam": Adam, "AdamW": Adam, "SGD": SGD},
    "scheduler": {"one_cycle": OneCycle, "cosine": Cosine, "constant": Constant},
    "callbacks": {"EarlyStopping": EarlyStopping, "ModelCheckpoint": ModelCheckpoint},
}
