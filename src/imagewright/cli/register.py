"""Makes a model a version in MLflow's registry, the champion if it is better."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Sequence

from imagewright.cli.compare import DATA, evaluated
from imagewright.comparison.statistics import against, p_words
from imagewright.errors import DataError, ImagewrightError
from imagewright.names import shown
from imagewright.stages.project import Project, find_project
from imagewright.tracking.lookup import Store, StoredRun, experiment_name, find_run, recorded_run
from imagewright.tracking.place import tracking_uri, without_password
from imagewright.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    Version,
    add_version,
    alone,
    award,
    champion_of,
    check_name,
    version_of,
)
from imagewright.tracking.store import open_store

__all__ = ["run"]

_METRICS = {"accuracy": "accuracy", "f1_macro": "macro F1"}
# Tags of the run that its version has, too: they are needed when the run is deleted.
_TAGS = (DATA, "mlflow.source.git.commit", "git.dirty", "sha256.best.ckpt")


def run(arguments: Sequence[str]) -> None:
    """Register the model of a run, decide between it and today's champion, and say why."""
    parser = argparse.ArgumentParser(prog="imagewright register", description=__doc__)
    parser.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        help="id, start of an id, or name of a run (default: that of the last training)",
    )
    parser.add_argument("--name", help="of the registered model (default: that of the run's experiment)")
    parser.add_argument(
        "--metric", choices=_METRICS, default="accuracy", help="that the better one is higher in (default: %(default)s)"
    )
    given = parser.parse_args(arguments)
    project = find_project()
    client = open_store(project.root)
    stored = find_run(client, given.run) if given.run else _last(project, client)
    _check(stored, given.metric)
    name = given.name or re.sub(r"[/:]", "_", experiment_name(client, stored))
    check_name(name)
    with alone(project.root):
        version = version_of(client, name, stored)
        is_new = version is None
        version = version or add_version(client, name, stored, _tags(stored), _description(stored))
        alias, reason = _decide(client, stored, champion_of(client, name), given.metric)
        award(client, version, alias, reason)
    print(f"{stored} is {version}{'' if is_new else ', registered before'}: {alias}\n{reason}")
    serve = f"mlflow models serve -m {shlex.quote(f'models:/{name}@{alias}')} --env-manager local --port 5001"
    print(f"To serve it: MLFLOW_TRACKING_URI={shlex.quote(without_password(tracking_uri(project.root)))} {serve}")
    if stored.tags.get("git.dirty") == "true":
        print("note: its code was not that of a commit; it cannot be made again from git alone", file=sys.stderr)


def _last(project: Project, client: Store) -> StoredRun:
    """The run of the last training in this project."""
    path = project.paths["models"] / "run.json"
    try:
        record = json.loads(path.read_text("utf-8"))
        stored = recorded_run(client, record.get("key"), record["run_id"])
    except FileNotFoundError as error:
        raise DataError(f"{path}: is missing; run `dvc repro` first, or name a run") from error
    except (ValueError, LookupError, AttributeError) as error:
        raise DataError(f"{path}: is no record of a run; run `dvc repro` again, or name a run") from error
    if stored is None:
        raise DataError(
            f"{path}: the run {shown(str(record.get('run_name')))!r} is not in MLflow; `imagewright sync` sends what "
            f"could not be sent before, or name another run"
        )
    return stored


def _check(stored: StoredRun, metric: str) -> None:
    if stored.status != "FINISHED":
        raise DataError(f"{stored}: must be FINISHED to be registered, it is {stored.status}")
    for name in _METRICS:
        if f"test/{name}" not in stored.metrics and name == metric:
            raise DataError(
                f"{stored}: has no metric test/{name}; only runs that the stage evaluate has scored have one"
            )


def _tags(stored: StoredRun) -> dict[str, str]:
    scores = {
        f"test/{name}": repr(stored.metrics[f"test/{name}"]) for name in _METRICS if f"test/{name}" in stored.metrics
    }
    return {**scores, **{tag: stored.tags[tag] for tag in _TAGS if tag in stored.tags}, "run": stored.name[:5000]}


def _description(stored: StoredRun) -> str:
    scores = ", ".join(
        f"{words} {stored.metrics[f'test/{name}']:.4f}"
        for name, words in _METRICS.items()
        if f"test/{name}" in stored.metrics
    )
    commit = stored.tags.get("mlflow.source.git.commit", "unknown")
    changed = " with changes" if stored.tags.get("git.dirty") == "true" else ""
    return (
        f"Of run {shown(stored.name)} ({stored.run_id}). On the test images {stored.tags.get(DATA, 'unknown')}: "
        f"{scores}. Code: commit {commit}{changed}."
    )


def _decide(client: Store, stored: StoredRun, champion: Version | None, metric: str) -> tuple[str, str]:
    """The alias of a run's model, and why."""
    words = _METRICS[metric]
    score = stored.metrics[f"test/{metric}"]
    if champion is None:
        return CHAMPION, f"There was no champion; its test {words} is {score:.4f}."
    if champion.run_id == stored.run_id:
        return CHAMPION, f"It is the champion already; its test {words} is {score:.4f}."
    other = recorded_run(client, None, champion.run_id)
    # What a run says is newer than what its version says: it may have been evaluated again.
    says = {**champion.tags, **({} if other is None else other.tags)}
    data, today = stored.tags.get(DATA), says.get(DATA)
    if data is None or data != today:
        return CHALLENGER, (
            f"The champion, {champion}, was tested on other images ({DATA} {today or 'unknown'}, here "
            f"{data or 'unknown'}): their scores say nothing about which one is better."
        )
    best = _score(champion, other, metric)
    if best is None:
        return CHALLENGER, f"The champion, {champion}, has no test {words} to compare with."
    alias = CHAMPION if score > best else CHALLENGER
    verb = "beats the" if score > best else "equals the" if score == best else "is below the"
    until_now = " until now" if alias == CHAMPION else ""
    return alias, (
        f"Its test {words} of {score:.4f} {verb} {best:.4f} of {champion}, the champion{until_now}, on the same test "
        f"images. {_tested(client, other, stored, metric)}"
    )


def _score(champion: Version, other: StoredRun | None, metric: str) -> float | None:
    if other is not None and f"test/{metric}" in other.metrics:
        return other.metrics[f"test/{metric}"]
    try:
        return float(champion.tags[f"test/{metric}"])
    except (KeyError, ValueError):
        return None


def _tested(client: Store, champion: StoredRun | None, stored: StoredRun, metric: str) -> str:
    """What a paired test says of a run against the champion's; it does not decide."""
    if champion is None:
        return "There is no paired test: the champion's run is no longer in MLflow."
    try:
        a, b = (evaluated(client, one) for one in (champion, stored))
    except ImagewrightError as error:
        return f"There is no paired test: {error}."
    if {*a.classes} != {*b.classes}:
        return "There is no paired test: they know different classes."
    tested = against(a, b, confidence=0.95, resamples=2000)
    if tested is None:
        return "There is no paired test: their predictions have no image in common."
    name, p_value = {
        "accuracy": ("McNemar's test", tested.mcnemar.p_value),
        "f1_macro": ("Paired bootstrap", tested.bootstrap.f1_macro.p_value),
    }[metric]
    chance = "" if p_value < 0.05 else ", so the difference may well be chance"
    return f"{name} on {tested.images:,} images: {p_words(p_value)}{chance}."
