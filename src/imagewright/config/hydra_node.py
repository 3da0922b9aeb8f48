"""What ``conf/`` may say to Hydra itself.

Hydra builds its launcher, sweeper, callbacks and log handlers from its own node of the configuration, and sets
environment variables from it. Files of ``conf/`` may choose folders and plugins there, but not name code of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from imagewright.config.choices import flat, load_yaml
from imagewright.errors import ConfigError

__all__ = ["check_hydra_files"]

_PLUGIN = re.compile(r"hydra(_plugins|\._internal\.core_plugins)\.[\w.]+(Launcher|Sweeper)")
# What a file may set: by its path inside the node `hydra`, or inside a file of conf/hydra/.
_ALLOWED = re.compile(r"job\.(chdir|name)|(run|sweep)\.(dir|subdir)|(launcher|sweeper)(\..+)?|output_subdir|verbose")
# A launcher runs the first as shell commands; the other two are code or its surroundings as well.
_REFUSED = re.compile(r"(.+\.)?(setup|env_set|python|\(\))(\..+)?")
_PACKAGE = re.compile(r"^\s*#\s*@package\s+(\S+)", re.MULTILINE)


def check_hydra_files(conf: Path) -> None:
    """Look through every file of ``conf/`` for what it would put into the node of Hydra.

    Raises:
        ConfigError: a file sets more there than folders, launchers and sweepers, or would do so by another path.
    """
    for path in sorted(conf.rglob("*.yaml")):
        where = str(path.relative_to(conf.parent))
        content = load_yaml(path)
        inside = path.relative_to(conf).parts
        for package in _PACKAGE.findall(path.read_text("utf-8")):
            if package != "_global_":
                raise ConfigError(f"{where}: a file of conf/ stays in its group or is _global_, got @package {package}")
        if "@" in str(content.get("defaults", "")):
            raise ConfigError(f"{where}: defaults: may not move a group to another place, got {content['defaults']}")
        own = {name: node for name, node in content.items() if str(name).split(".")[0] == "hydra"}
        if inside[0] == "hydra":
            own |= {".".join(("hydra", *inside[1:-1])): content}
        for name, value in flat(own).items():
            _check(name.removeprefix("hydra").removeprefix("."), value, where)


def _check(name: str, value: Any, where: str) -> None:
    plugin = not name.endswith("_target_") or _PLUGIN.fullmatch(str(value))
    nested = isinstance(value, list) and "_target_" in str(value)
    if nested or not plugin or not _ALLOWED.fullmatch(name) or _REFUSED.fullmatch(name):
        raise ConfigError(
            f"{where}: hydra.{name}: a file of conf/ may set folders, launchers and sweepers of Hydra, "
            f"nothing else, got {value!r}; leave it out, or give it on the command line"
        )
