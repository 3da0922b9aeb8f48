"""Checks a composed configuration against the schema and returns it as plain values."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from imagewright import shapes, targets
from imagewright.config import schema
from imagewright.errors import ConfigError, choices_hint

__all__ = ["Config", "validate"]

Config = dict[str, Any]

# The batches of an epoch differ by one image at most, so the smallest of them then has two.
_LEAST_BATCH = 3
_TYPE_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def validate(composed: DictConfig) -> Config:
    """Resolve and check every section.

    Args:
        composed: what Hydra composed, without the node ``hydra``.

    Returns:
        Plain dicts, lists, numbers and strings, in the order of the schema.

    Raises:
        ConfigError: a key, type or value is wrong; names the key, the rule and the value.
    """
    try:
        plain: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'configuration'}: cannot be resolved: {_first_line(error)}") from error
    _check_names("", plain, {"seed", *schema.SECTIONS, *schema.TARGETS})
    config: Config = _typed(schema.Root, {"seed": plain["seed"]}, "")
    for section in plain:
        if section != "seed":
            config[section] = _section(section, plain[section])
    _check_combinations(config)
    return config


def _section(section: str, node: Any) -> Config:
    _check_mapping(node, section)
    if section == "callbacks":
        own = {field.name for field in dataclasses.fields(schema.Callbacks)}
        checked = _typed(schema.Callbacks, {name: value for name, value in node.items() if name in own}, section)
        return checked | _targets_by_name(section, {k: v for k, v in node.items() if k not in own}, section)
    if section in schema.SECTIONS:
        checked = _typed(schema.SECTIONS[section], node, section)
        if section == "augment":
            checked["transforms"] = _targets_by_name(section, checked["transforms"], "augment.transforms")
        return checked
    return _with_target(section, node, section)


def _targets_by_name(section: str, nodes: Mapping[str, Any], path: str) -> Config:
    """Check each part that has a ``_target_``; a part that is null was turned off and stays so."""
    return {
        name: None if node is None else _with_target(section, node, f"{path}.{name}") for name, node in nodes.items()
    }


def _with_target(section: str, node: Any, path: str) -> Config:
    _check_mapping(node, path)
    targets.check(section, node.get("_target_"), f"{path}._target_")
    known = schema.TARGETS[section].get(node["_target_"].rpartition(".")[2])
    if known is not None:
        return _typed(known, node, path)
    _check_no_target(section, {name: value for name, value in node.items() if name != "_target_"}, path)
    return dict(node)


def _check_no_target(section: str, node: Any, path: str) -> None:
    """A target without a schema takes plain values only, nothing that would be built inside it."""
    if isinstance(node, dict):
        if "_target_" in node:
            raise ConfigError(
                f"{path}._target_: a nested _target_ is not built, got {node['_target_']!r}; leave it out"
            )
        for name, value in node.items():
            _check_no_target(section, value, f"{path}.{name}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            _check_no_target(section, value, f"{path}.{index}")


def _typed(shape: type, node: Mapping[str, Any], path: str) -> Config:
    """``node`` with the types of the dataclass ``shape``, each value checked by its rule."""
    names = [field.name for field in dataclasses.fields(shape)]
    _check_names(path, node, set(names))
    hints = get_type_hints(shape, include_extras=True)
    typed = OmegaConf.structured(shape)
    config: Config = {}
    for name in names:
        value, where = node[name], f"{path}.{name}".lstrip(".")
        if dataclasses.is_dataclass(hints[name]):
            _check_mapping(value, where)
            config[name] = _typed(hints[name], value, where)
            continue
        kind, rule = _kind_and_rule(hints[name])
        words = rule.words if rule else _words(kind)
        problem = f"{where}: must be {words}, got {value!r}"
        try:
            typed[name] = value
        except (ValidationError, ValueError) as error:
            raise ConfigError(f"{problem}; give {_words(kind)}") from error
        checked: Any = OmegaConf.to_container(typed)
        config[name] = checked[name]
        if not _finite(config[name]) or (rule and not rule.holds(config[name])):
            raise ConfigError(problem)
    return config


def _kind_and_rule(hint: Any) -> tuple[Any, schema.Rule | None]:
    return get_args(hint) if get_origin(hint) is Annotated else (hint, None)


def _words(hint: Any) -> str:
    if get_origin(hint) is list:
        return f"a list, each {_words(get_args(hint)[0])}"
    optional = [part for part in get_args(hint) if part is not type(None)]
    return f"{_words(optional[0])} or null" if optional else _TYPE_WORDS.get(hint, "a value")


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_finite(element) for element in value)
    return not isinstance(value, float) or math.isfinite(value)


def _check_mapping(node: Any, path: str) -> None:
    if not isinstance(node, dict):
        raise ConfigError(f"{path}: must be a mapping of keys to values, got {node!r}; see conf/{path.split('.')[0]}/")


def _check_names(path: str, node: Mapping[str, Any], valid: set[str]) -> None:
    for name in node:
        if name not in valid:
            where = f"{path}.{name}".lstrip(".")
            raise ConfigError(f"{where}: no such key, got {node[name]!r}; {choices_hint(name, valid)}")
    for name in sorted(valid):
        if name not in node or node[name] == "???":
            where = f"{path}.{name}".lstrip(".")
            raise ConfigError(f"{where}: must be given, got nothing; set it in conf/ or in params.yaml under override")


def _check_combinations(config: Config) -> None:
    """Rules between keys."""
    split = config["data"].get("split")
    if split and split["validation"] + split["test"] >= 1:
        raise ConfigError(
            f"data.split: validation and test together must be below 1, so that images are left for training, got "
            f"{split['validation']:g} and {split['test']:g}"
        )
    if config["augment"]["online"] and config["augment"]["copies"]:
        raise ConfigError(
            f"augment.online: true goes with augment.copies 0, got copies {config['augment']['copies']}; choose copies "
            f"(drawn once) or online (drawn afresh in each epoch)"
        )
    for name in ("best", "last"):
        if config["callbacks"].get(name) is None:
            raise ConfigError(f"callbacks.{name}: must be a ModelCheckpoint, got null; the pipeline hands it on")
    for name in ("image_size", "channels", "split"):
        if name not in config["data"]:
            raise ConfigError(f"data.{name}: must be given, got nothing; every source has this key")
    model = config["model"]
    if config["trainer"]["batch_size"] < _LEAST_BATCH and (
        model.get("batch_norm") or model["_target_"].endswith("ResNet")
    ):
        raise ConfigError(
            f"trainer.batch_size: must be {_LEAST_BATCH} or more with batch normalization, got "
            f"{config['trainer']['batch_size']}; of a single image no variance can be taken"
        )
    if model["_target_"].endswith(".CNN"):
        geometry = ("channels", "kernel_size", "stride", "padding", "pooling", "pool_size")
        shapes.cnn_sizes(tuple(config["data"]["image_size"]), **{name: model[name] for name in geometry})


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
