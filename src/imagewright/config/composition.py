"""Hydra composes ``conf/`` with the choices of ``params.yaml``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from imagewright.config.choices import groups, read_choices
from imagewright.config.validation import Config, validate
from imagewright.errors import ConfigError, choices_hint

__all__ = ["PRIMARY", "compose_config", "hydra_errors", "register_primary"]

PRIMARY = "params"


def compose_config(conf: Path, params: Path, given: Sequence[str] = ()) -> Config:
    """Compose, resolve and validate the configuration.

    Args:
        conf: the folder ``conf/``.
        params: the file ``params.yaml``.
        given: Hydra overrides that win over ``params.yaml``.

    Raises:
        ConfigError: anything in it is wrong.
    """
    register_primary(conf, params, given)
    with hydra_errors(conf), initialize_config_dir(version_base="1.3", config_dir=str(conf.resolve())):
        composed = compose(PRIMARY, list(given))
    return validate(composed)


def register_primary(conf: Path, params: Path, given: Sequence[str] = ()) -> list[str]:
    """Hand ``params.yaml`` to Hydra as the primary config ``PRIMARY``.

    Returns:
        a sentence for each value of ``params.yaml`` that was left out because of ``given``.
    """
    node, left_out = read_choices(params, conf).primary_config(given)
    ConfigStore.instance().store(PRIMARY, node)
    return left_out


@contextmanager
def hydra_errors(conf: Path) -> Iterator[None]:
    """Turn what Hydra says of a wrong configuration into one line with the valid names."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(_explain(error, conf)) from error
    except ValueError as error:
        if not _raised_in_hydra(error):
            raise
        raise ConfigError(_explain(error, conf)) from error


def _raised_in_hydra(error: Exception) -> bool:
    """Whether it was Hydra itself that refused something; it does so by ValueError, too."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__", "")).startswith("hydra.")


def _explain(error: Exception, conf: Path) -> str:
    unknown = error.__cause__
    if isinstance(unknown, ConfigAttributeError | ConfigKeyError) and unknown.parent_node is not None:
        valid = [str(name) for name in unknown.parent_node if name != "hydra"]
        return f"{unknown.full_key}: no such key; {choices_hint(str(unknown.full_key).rpartition('.')[2], valid)}"
    words = " ".join(str(error).split())
    for group, options in groups(conf).items():
        start = f"Could not find '{group}/"
        if start in words:
            wrong = words.split(start, 1)[1].split("'", 1)[0]
            return f"{group}: must name a file in conf/{group}/, got {wrong!r}; {choices_hint(wrong, options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read: {words}"
    return f"configuration: {words}"
