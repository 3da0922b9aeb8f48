"""A sweep: one parent run in MLflow, a child for each job, and a table of all jobs at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from imagewright.cli.job import RESULT, SWEEP
from imagewright.tracking.provenance import command_tags
from imagewright.tracking.run import ONCE, TrackedRun

__all__ = ["run"]


def run(app: Callable[[], Any], root: Path, folder: Path, experiment: str, command: str) -> int:
    """Run all jobs, print their table, and close the parent run.

    Args:
        app: Hydra's multirun.
        root: the project.
        folder: of the sweep; each job has a folder in it.
        experiment: MLflow experiment of the parent run.
        command: what started the sweep.

    Returns:
        exit status: 0, or 1 if a job failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with TrackedRun.start(root, experiment, f"sweep {folder.name}", command_tags(command)) as parent:
        (folder / SWEEP).write_text(json.dumps({"parent": parent.key, "command": command}), encoding="utf-8")
        try:
            app()
        except BaseException:
            if not any(path.is_dir() for path in folder.iterdir()):  # no job has begun
                parent.discard()
            raise
        finally:
            results = _results(folder)
            if results:
                print(_table(results))
                print(f"\njobs and models: {folder}")
        failed = [result for result in results if "error" in result]
        parent.log_metrics({"jobs": len(results), "jobs/failed": len(failed)}, ONCE)
        finished = _sorted([result for result in results if "error" not in result])
        if finished:
            best = finished[0]
            parent.set_tags(
                {"imagewright.best_job": best["overrides"], "imagewright.best_run": best["run_id"] or best["key"]}
            )
            parent.log_metrics({f"best/{best['monitor']}": best["value"]}, ONCE)
        parent.log_text(_table(results), "jobs.txt")
        if failed:
            listed = "".join(f"\n  #{result['job']} {result['overrides']}: {result['error']}" for result in failed)
            words = f"{len(failed)} of {len(results)} jobs failed:{listed}"
            print(f"\n{words}")
            parent.fail(words)
    return 1 if failed else 0


def _results(folder: Path) -> list[dict[str, Any]]:
    results = [json.loads(path.read_text("utf-8")) for path in folder.rglob(RESULT)]
    return sorted(results, key=lambda result: int(result["job"]))


def _sorted(finished: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Best first; jobs that watched another metric than the first stand behind the others."""
    if not finished:
        return []
    monitor, mode = finished[0]["monitor"], finished[0]["mode"]
    sign = 1 if mode == "min" else -1
    return sorted(finished, key=lambda job: (job["monitor"] != monitor, sign * job["value"]))


def _table(results: Sequence[dict[str, Any]]) -> str:
    finished = _sorted([result for result in results if "error" not in result])
    rows = [
        (
            job["job"],
            job["overrides"],
            f"{job['value']:.4f}",
            f"{job['accuracy']:.2%}",
            f"{job['best_epoch']} of {job['epochs']}",
        )
        for job in finished
    ]
    rows += [(job["job"], job["overrides"], "failed", "", "") for job in results if "error" in job]
    monitor = finished[0]["monitor"] if finished else "metric"
    headers = ("job", "overrides", monitor, "validation accuracy", "best epoch")
    table: str = tabulate(rows, headers=headers, disable_numparse=True, colalign=("right", "left", *["right"] * 3))
    return f"\n{table}"
