"""The layers, the pipeline file and the documents say what the code does."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from omegaconf import OmegaConf

import imagewright
from conftest import ROOT, Project
from imagewright.cli import COMMANDS
from imagewright.config import schema
from imagewright.config.choices import groups
from imagewright.targets import ALLOWED

PIPELINE = OmegaConf.to_container(OmegaConf.load(ROOT / "dvc.yaml"), resolve=False)
STAGES = list(PIPELINE["stages"])  # type: ignore[index, call-overload, arg-type]
MODULES = [module.name for module in pkgutil.walk_packages(imagewright.__path__, "imagewright.")]


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Who imports whom in the package, also inside functions."""
    return grimp.build_graph("imagewright", cache_dir=None, exclude_type_checking_imports=True)


def test_the_import_layers_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def source_of(module: str) -> str:
    path = f"src/{module.replace('.', '/')}"
    return f"{path}/__init__.py" if (ROOT / path).is_dir() else f"{path}.py"


def needed_by(stage: str, imports: grimp.ImportGraph) -> Iterator[str]:
    """Source files that a stage's module imports, directly or not; packages stand for what is in their __init__.py."""
    module = f"imagewright.stages.{stage}"
    yield source_of(module)
    for imported in imports.find_upstream_modules(module):
        yield source_of(imported)


# What a `_target_` names is imported by its name, where the import graph does not see it.
SOURCES = [module for module in MODULES if module.startswith("imagewright.data.sources.")]
BY_NAME = {
    "scan": SOURCES,
    "prepare": SOURCES,
    "train": ["imagewright.models.cnn", "imagewright.training.schedules"],
    "evaluate": ["imagewright.models.cnn"],
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_of_dvc_depends_on_the_code_that_it_imports_and_on_no_other(
    stage: str, imports: grimp.ImportGraph
) -> None:
    listed = [dep for dep in PIPELINE["stages"][stage]["deps"] if dep.startswith("src/")]  # type: ignore[index, call-overload]
    files = set(needed_by(stage, imports))
    for module in BY_NAME.get(stage, []):
        files |= {source_of(module), *(source_of(name) for name in imports.find_upstream_modules(module))}
    # An __init__.py that holds only a docstring is no cause to run a stage again.
    files = {
        file for file in files if not file.endswith("__init__.py") or len((ROOT / file).read_text().split('"""')[2]) > 1
    }
    covered = {file: [dep for dep in listed if file == dep or file.startswith(f"{dep}/")] for file in files}
    assert [file for file, deps in covered.items() if not deps] == []
    assert sorted({dep for deps in covered.values() for dep in deps}) == sorted(listed)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_sections_that_it_reads(stage: str) -> None:
    content = (ROOT / source_of(f"imagewright.stages.{stage}")).read_text("utf-8")
    listed = {
        name
        for entry in PIPELINE["stages"][stage]["params"]
        for names in entry.values()
        for name in names or []  # type: ignore[index, call-overload]
    }
    if stage in ("compose", "train"):  # compose reads all of params.yaml; train hands its sections to `fit`
        content += (ROOT / "src/imagewright/training/fitting.py").read_text("utf-8") if stage == "train" else ""
    read = set(re.findall(r'config\["(\w+)"\]', content))
    checked = {"data", "normalize", "augment"} if stage == "train" else set()  # only compared with what is on disk
    assert read - checked <= listed


@pytest.mark.parametrize("stage", ["compose", "scan", "prepare", "normalize"])
def test_the_stages_before_augment_run_without_torch(finished: Project, tmp_path: Path, stage: str) -> None:
    paths = {
        "compose": ["--conf", "conf", "--params", "params.yaml", "--out", str(tmp_path / "config.yaml")],
        "scan": ["--config", "config.yaml", "--known", "data/.known.json", "--out", str(tmp_path / "scanned")],
        "prepare": [
            *("--config", "config.yaml", "--out", str(tmp_path / "prepared")),
            *("--report", str(tmp_path / "report")),
        ],
        "normalize": ["--config", "config.yaml", "--prepared", "data/prepared", "--out", str(tmp_path / "normalized")],
    }
    printed = finished.run("python", "-X", "importtime", "-m", f"imagewright.stages.{stage}", *paths[stage])
    imported = {line.rpartition("|")[2].strip() for line in printed.splitlines() if line.startswith("import time:")}
    assert "numpy" in imported or stage in ("compose", "scan")
    assert not imported & {"torch", "pytorch_lightning", "mlflow", "albumentations"}


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    printed = Project(tmp_path).run("python", "-X", "importtime", "-m", "imagewright", "--help")
    imported = {line.rpartition("|")[2].strip() for line in printed.splitlines() if line.startswith("import time:")}
    assert "argparse" in imported
    assert not imported & {"torch", "pytorch_lightning", "mlflow", "albumentations", "hydra", "numpy", "omegaconf"}
    for command in COMMANDS:
        assert command in printed


@pytest.mark.parametrize("module", MODULES)
def test_what_a_module_exports_exists(module: str) -> None:
    if module.endswith("__main__"):
        return
    loaded = importlib.import_module(module)
    for name in getattr(loaded, "__all__", []):
        assert hasattr(loaded, name)


def test_the_public_surface_of_the_package_is_its_version() -> None:
    assert imagewright.__all__ == ["__version__"]
    assert re.search(
        rf'^version = "{re.escape(imagewright.__version__)}"$', (ROOT / "pyproject.toml").read_text(), re.M
    )


def test_each_stage_has_one_name_as_module_and_as_section() -> None:
    config = {*groups(ROOT / "conf")}
    for stage in STAGES:
        assert f"imagewright.stages.{stage}" in MODULES
    assert {"normalize", "augment", "evaluate"} <= config
    assert set(groups(ROOT / "conf")) - {"experiment"} == {*schema.SECTIONS, *schema.TARGETS}


def test_every_target_of_conf_is_on_the_allow_list() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        for target in re.findall(r"_target_: (\S+)", path.read_text("utf-8")):
            assert re.fullmatch(ALLOWED[path.relative_to(ROOT / "conf").parts[0]], target), (path, target)


# --- documents --------------------------------------------------------------------------------------------------------

README = (ROOT / "README.md").read_text("utf-8")


def test_the_readme_names_every_command_stage_group_and_target_of_make() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    made = re.findall(r"^([a-z]+):.*## ", makefile, re.M)
    words = [
        *(f"`imagewright {command}" for command in COMMANDS),
        *(f"| {stage} |" for stage in STAGES),
        *(f"`conf/{group}/`" for group in groups(ROOT / "conf")),
        *(f"`make {target}`" for target in made if target not in ("setup", "lock", "clean", "help")),
    ]
    assert [word for word in words if word not in README] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/benchmarks.md"])
def test_every_path_that_a_document_names_exists(document: str) -> None:
    content = (ROOT / document).read_text("utf-8")
    written = (
        "data/.times",
        "data/scanned",
        "data/prepared",
        "data/normalized",
        "data/augmented",
        "data/raw",
        "models",
        "reports",
        "runs",
        "mlruns",
    )
    named = re.findall(r"`((?:src|conf|docs|tests|benchmarks|tools|data)/[\w./-]*)`", content)
    named += re.findall(r"\]\(([^)#:]+)\)", content)
    folder = (ROOT / document).parent
    missing = [
        path
        for path in named
        if not path.startswith(written)
        and "NAME" not in path
        and not any((place / path).exists() for place in (ROOT, folder, ROOT / "src" / "imagewright"))
    ]
    assert missing == []
    assert named
