"""Which classes a configuration may name in ``_target_``, and how they are built.

A configuration is data, not code: a ``_target_`` is looked up in the allow-list below and nowhere else, so that nobody
is harmed by running somebody else's configuration.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

from imagewright.errors import ConfigError

__all__ = ["ALLOWED", "accepts", "build", "check"]

# Section -> what its `_target_` must match as a whole. Each pattern ends in one public name of one package: a longer
# path such as `torch.optim.lr_scheduler.types.FunctionType` or `albumentations.os.system` does not match.
_CLASS = r"[A-Z]\w*"
ALLOWED: dict[str, str] = {
    "data": rf"imagewright\.data\.sources\.\w+\.{_CLASS}",
    "augment": rf"albumentations\.{_CLASS}",
    "model": rf"imagewright\.models\.\w+\.{_CLASS}",
    "optimizer": rf"torch\.optim\.{_CLASS}",
    "scheduler": r"imagewright\.training\.schedules\.[a-z]\w*",
    "callbacks": rf"pytorch_lightning\.callbacks\.{_CLASS}",
}


def check(section: str, target: object, key: str) -> None:
    """Refuse a ``_target_`` that is not on the allow-list of ``section``; imports nothing.

    Args:
        section: first part of the key in the configuration.
        target: value of ``_target_``.
        key: where it stands, for the message.
    """
    pattern = ALLOWED.get(section)
    if pattern is None:
        raise ConfigError(f"{key}: the section {section} takes no _target_, got {target!r}; leave the key out")
    if not isinstance(target, str) or re.fullmatch(pattern, target) is None:
        readable = pattern.replace("\\.", ".").replace(_CLASS, "<Class>").replace(r"[a-z]\w*", "<function>")
        readable = readable.replace(r"\w+", "<module>")
        raise ConfigError(f"{key}: must be of the form {readable}, got {target!r}; a configuration names nothing else")


def build(section: str, node: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
    """Call the ``_target_`` of ``node`` with ``args``, ``kwargs`` and the node's other keys.

    Args:
        section: first part of the key in the configuration; decides what is allowed.
        node: plain mapping with ``_target_``.
        *args: given to the target.
        **kwargs: given to the target.

    Raises:
        ConfigError: the target is not allowed, does not exist or does not take these keys.
    """
    factory = _find(section, node)
    keys = {key: value for key, value in node.items() if key != "_target_"}
    try:
        return factory(*args, **kwargs, **keys)
    except (TypeError, ValueError, NotImplementedError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{section}: {node['_target_']} does not take the keys {keys}: {reason}") from error


def accepts(section: str, node: Mapping[str, Any], argument: str) -> bool:
    """Whether the ``_target_`` of ``node`` has an argument of this name."""
    return argument in inspect.signature(_find(section, node)).parameters


def _find(section: str, node: Mapping[str, Any]) -> Any:
    target = node.get("_target_")
    check(section, target, f"{section}._target_")
    module, _, name = str(target).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"{section}: _target_ {target} does not exist ({error}); check its spelling") from error
    # A module also has what it imports from elsewhere.
    package = str(getattr(found, "__module__", "")).split(".")[0]
    if not callable(found) or package != module.split(".")[0]:
        raise ConfigError(f"{section}: _target_ {target} is not defined there; name a class of {module} itself")
    return found
