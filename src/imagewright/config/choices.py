"""``params.yaml``: which option of each group is chosen, and which values override it.

It becomes the primary config of Hydra: the chosen options are its defaults list, and the mapping ``override`` its
body. So Hydra's own order holds, later ones winning: the chosen options, what an experiment brings, the mapping
``override``, the command line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from imagewright.errors import ConfigError, choices_hint

__all__ = ["Choices", "flat", "groups", "load_yaml", "read_choices"]

# Groups whose option is not a must.
_OPTIONAL = ("experiment",)


@dataclass(frozen=True)
class Choices:
    """What ``params.yaml`` says.

    Attributes:
        options: group -> option, or None.
        values: dotted path -> value of the mapping ``override``.
    """

    options: dict[str, str | None]
    values: dict[str, Any]

    def primary_config(self, given: Sequence[str] = ()) -> tuple[dict[str, Any], list[str]]:
        """Hydra's primary config, for a command line with the overrides ``given``.

        A value that ``override`` sets inside a group of which ``given`` picks another option is left out: it was meant
        for the option in ``params.yaml``.

        Returns:
            the config, and a sentence for each value that was left out.
        """
        picked = dict(part.lstrip("+").split("=", 1) for part in given if "=" in part)
        kept, left_out = {}, []
        for path, value in self.values.items():
            group = path.split(".")[0]
            if group in picked and picked[group] != self.options.get(group):
                left_out.append(
                    f"params.yaml's override of {path} ({value}) is left out, because the command line chooses "
                    f"{group}={picked[group]} instead of {self.options.get(group)}"
                )
            else:
                kept[path] = value
        defaults = ["config", *({group: option} for group, option in self.options.items()), "_self_"]
        return {"defaults": defaults, **_nested(kept)}, left_out


def groups(conf: Path) -> dict[str, list[str]]:
    """Group -> its options: the folders of ``conf`` and the files in each."""
    if not conf.is_dir():
        raise ConfigError(f"{conf}: is no folder; name the one of the groups")
    return {
        folder.name: sorted(path.stem for path in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir() and folder.name != "hydra" and any(folder.glob("*.yaml"))
    }


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file as OmegaConf does, so that ``1e-3`` is a number; refuse what does not parse."""
    try:
        loaded = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path.name}: not found in {path.parent}; run this inside the project") from error
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path.name}: is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path.name}: must be a mapping of keys to values, got {type(loaded).__name__}")
    plain: dict[str, Any] = OmegaConf.to_container(loaded)  # type: ignore[assignment]
    return plain


def read_choices(params: Path, conf: Path) -> Choices:
    """Read ``params.yaml`` and check it against the groups and options in ``conf``.

    Raises:
        ConfigError: an unknown group or option, or a group without a choice.
    """
    written = load_yaml(params)
    available = groups(conf)
    values: Any = written.pop("override", None) or {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{params.name}: override: must be a mapping of paths to values, got {values!r}")
    for group, option in written.items():
        if group not in available:
            hint = choices_hint(group, [*available, "override"])
            raise ConfigError(f"{params.name}: {group}: no such group, got {option!r}; {hint}")
        if option not in available[group] and not (option is None and group in _OPTIONAL):
            hint = choices_hint(option, available[group])
            raise ConfigError(f"{params.name}: {group}: must name a file in conf/{group}/, got {option!r}; {hint}")
    for group in available:
        if group not in written and group not in _OPTIONAL:
            names = ", ".join(available[group])
            raise ConfigError(f"{params.name}: {group}: must be chosen, got nothing; valid: {names}")
    leaves = flat(values)
    for path, value in leaves.items():
        if path.split(".")[0] in ("hydra", "defaults"):
            raise ConfigError(
                f"{params.name}: override: {path} is no value of a section, got {value!r}; give it on the command line"
            )
    # An experiment overrides other groups, which must stand before it in the defaults list.
    required = {group: option for group, option in written.items() if group not in _OPTIONAL}
    return Choices(options=required | {group: written.get(group) for group in _OPTIONAL}, values=leaves)


def flat(values: Mapping[Any, Any], above: str = "") -> dict[str, Any]:
    """Nested mappings as dotted paths: ``{model: {dropout: 0.5}}`` and ``{model.dropout: 0.5}`` are the same.

    Args:
        values: mapping, whose values may be mappings.
        above: path of ``values`` itself.
    """
    leaves: dict[str, Any] = {}
    for name, value in values.items():
        path = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, path)
        else:
            leaves[path] = value
    return leaves


def _nested(leaves: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in leaves.items():
        *parents, name = path.split(".")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ConfigError(f"params.yaml: override: {path} is set, and so is a value above it; keep one of them")
        node[name] = value
    return nested
