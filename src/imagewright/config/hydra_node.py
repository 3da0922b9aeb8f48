"""What ``conf/`` may say to Hydra itself.

Hydra builds its launcher, sweeper, callbacks and log handlers from its own node of the configuration. Files of
``conf/`` may choose among Hydra's plugins there, but not name code of their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from imagewright.config.choices import load_yaml
from imagewright.errors import ConfigError

__all__ = ["check_hydra_files"]

_PLUGIN = re.compile(r"hydra(_plugins|\._internal\.core_plugins)\.[\w.]+(Launcher|Sweeper)")
# The logging package builds whatever a "()" or "class" names.
_REFUSED = ("()", "class", "callbacks", "searchpath")


def check_hydra_files(conf: Path) -> None:
    """Look through every file of ``conf/`` that speaks to Hydra.

    Raises:
        ConfigError: a file names code that is not a launcher or sweeper of Hydra.
    """
    for path in sorted(conf.rglob("*.yaml")):
        where = path.relative_to(conf.parent)
        content = load_yaml(path)
        for name, node in content.items():
            if str(name).split(".")[0] == "hydra":
                _check(node, f"{where}: {name}")
        if path.parent != conf and path.relative_to(conf).parts[0] == "hydra":
            _check(content, str(where))


def _check(node: Any, where: str) -> None:
    if isinstance(node, list):
        for index, value in enumerate(node):
            _check(value, f"{where}.{index}")
    elif isinstance(node, dict):
        for name, value in node.items():
            allowed = name != "_target_" or _PLUGIN.fullmatch(str(value))
            if name in _REFUSED or not allowed:
                raise ConfigError(
                    f"{where}.{name}: a file of conf/ may name launchers and sweepers of Hydra and no other code, got "
                    f"{value!r}; leave it out"
                )
            _check(value, f"{where}.{name}")
