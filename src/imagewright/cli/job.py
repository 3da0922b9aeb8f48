"""One training of ``imagewright train``, alone or as a job of a sweep."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import filter_overrides
from hydra.types import RunMode
from omegaconf import DictConfig

from imagewright.config.validation import validate
from imagewright.errors import ImagewrightError
from imagewright.stages.project import find_project
from imagewright.stages.sections import FILE, write_sections

__all__ = ["RESULT", "SWEEP", "run_job"]

# What a job leaves in its folder, and what a sweep leaves in its own for its jobs.
RESULT = "result.json"
SWEEP = "sweep.json"

log = logging.getLogger(__name__)


def run_job(composed: DictConfig) -> float:
    """Train in the output folder that Hydra made.

    A job of a sweep that fails is recorded and does not raise, so that the others go on.

    Returns:
        the monitored metric in the best epoch, for sweepers that optimize it; NaN for a job that failed.
    """
    run = HydraConfig.get()
    out = Path(run.runtime.output_dir)
    words = " ".join(filter_overrides(run.overrides.task))
    if run.mode != RunMode.MULTIRUN:
        trained = _train(composed, out, name=words or None, sweep=None)
        print(
            f"best is epoch {trained['best_epoch']} of {trained['epochs']} with {trained['monitor']} "
            f"{trained['value']:.4f} and validation accuracy {trained['accuracy']:.2%}; model in {out}; MLflow run "
            f"{trained['run_name']!r} ({trained['run_id'] or 'to be sent, key ' + trained['key']})"
        )
        return float(trained["value"])
    result: dict[str, Any] = {"job": run.job.num, "overrides": words}
    try:
        sweep = json.loads((Path(run.sweep.dir) / SWEEP).read_text("utf-8"))
        result |= _train(composed, out, name=words, sweep=sweep)
    except ImagewrightError as error:
        result["error"] = str(error)
        log.error("job %s failed: %s", run.job.num, error)
    except Exception as error:
        result["error"] = f"{type(error).__name__}: {error}"
        log.exception("job %s failed", run.job.num)
    (out / RESULT).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return float(result.get("value", math.nan))


def _train(composed: DictConfig, out: Path, name: str | None, sweep: dict[str, str] | None) -> dict[str, Any]:
    config = validate(composed)
    write_sections(out / FILE, config)
    # torch and Lightning take seconds to import: only for a configuration that is right.
    from imagewright.stages.train import Inputs, describe_command, train

    project = find_project(Path(HydraConfig.get().runtime.cwd))
    trained = train(
        project,
        config,
        Inputs(*(project.paths[stage] for stage in ("prepared", "normalized", "augmented"))),
        out,
        command=sweep["command"] if sweep else describe_command(),
        name=name,
        parent=sweep["parent"] if sweep else None,
    )
    return vars(trained)
