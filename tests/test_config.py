"""What compose accepts, and what it says of the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from conftest import ROOT, Project
from imagewright.config.choices import groups, read_choices
from imagewright.config.composition import compose_config
from imagewright.config.hydra_node import check_hydra_files
from imagewright.errors import ConfigError

CONF = ROOT / "conf"
PARAMS = ROOT / "params.yaml"
OPTIONS = [(group, option) for group, options in groups(CONF).items() for option in options]


@pytest.fixture
def params(tmp_path: Path) -> Path:
    """A copy of params.yaml that a test may change."""
    return Path(shutil.copy(PARAMS, tmp_path / "params.yaml"))


def change(path: Path, **choices: Any) -> None:
    content = OmegaConf.load(path)
    for name, value in choices.items():
        content[name] = value
    OmegaConf.save(content, path)


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_of_every_group_composes(group: str, option: str) -> None:
    config = compose_config(CONF, PARAMS, [f"{group}={option}"])
    assert config["seed"] == 1


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_opens_with_a_comment_that_says_what_it_is(group: str, option: str) -> None:
    first = (CONF / group / f"{option}.yaml").read_text("utf-8").splitlines()
    assert next(line for line in first if not line.startswith("# @package")).startswith("# ")
    if group == "experiment":  # what it reaches, how long it takes, and the command
        head = " ".join(line for line in first if line.startswith("#"))
        assert all(word in head for word in ("% test accuracy", " s of training", "Command:")), head


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_top_level_key_of_an_option_has_a_comment_above_it(group: str, option: str) -> None:
    lines = (CONF / group / f"{option}.yaml").read_text("utf-8").splitlines()
    explained = True  # by the comment at the head
    for line in lines:
        if line.startswith("#"):
            explained = True
        elif not line.strip():
            explained = False
        elif line[0].isalpha() and not line.startswith(("defaults:", "_target_:")):
            # An option that builds on another one need not repeat what stands there.
            assert explained or "defaults:" in "\n".join(lines), f"{group}/{option}.yaml: {line}"


def test_no_value_stands_both_in_conf_and_in_params() -> None:
    written = OmegaConf.to_container(OmegaConf.load(PARAMS))
    assert isinstance(written, dict)
    assert set(written) <= {*groups(CONF), "override"}
    assert not written["override"]
    assert "defaults" not in OmegaConf.load(CONF / "config.yaml")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        # types
        ("trainer.max_epochs=many", ["trainer.max_epochs", "a whole number", "'many'"]),
        ("trainer.max_epochs=2.5", ["trainer.max_epochs", "a whole number", "2.5"]),
        ("augment.online=perhaps", ["augment.online", "true or false", "'perhaps'"]),
        ("model.channels=32", ["model.channels", "numbers of filters", "32"]),
        ("optimizer.lr=fast", ["optimizer.lr", "above 0", "'fast'"]),
        ("optimizer.lr=.nan", ["optimizer.lr", "above 0", "nan"]),
        ("model=7", ["must be a string or a list", "int"]),
        # ranges
        ("optimizer.lr=0", ["optimizer.lr", "above 0", "0"]),
        ("optimizer.lr=-1e-3", ["optimizer.lr", "above 0", "-0.001"]),
        ("model.dropout=1.5", ["model.dropout", "below 1", "1.5"]),
        ("trainer.batch_size=0", ["trainer.batch_size", "1 or more", "0"]),
        ("trainer.label_smoothing=-0.1", ["trainer.label_smoothing", "0 or more", "-0.1"]),
        ("seed=-1", ["seed", "from 0 to 4294967295", "-1"]),
        ("model.kernel_size=0", ["model.kernel_size", "1 or more", "0"]),
        ("model.stride=0", ["model.stride", "1 or more", "0"]),
        ("model.padding=-1", ["model.padding", "'same', 'valid'", "-1"]),
        ("model.padding=some", ["model.padding", "'same', 'valid'", "'some'"]),
        ("augment.copies=-1", ["augment.copies", "0 or more", "-1"]),
        ("augment.transforms.rotate.p=1.5", ["augment.transforms.rotate.p", "from 0 to 1", "1.5"]),
        ("augment.transforms.rotate.limit=400", ["augment.transforms.rotate.limit", "0 to 180", "400"]),
        ("augment.transforms.noise.std_range=[0.5,0.1]", ["std_range", "the smaller first", "[0.5, 0.1]"]),
        ("callbacks.early_stopping.patience=0", ["callbacks.early_stopping.patience", "1 or more", "0"]),
        ("data.split.test=1.0", ["data.split.test", "below 1", "1.0"]),
        ("data.image_size=[16,16]", ["data.image_size", "[8, 8]", "[16, 16]"]),
        ("tracking.experiment=''", ["tracking.experiment", "a name", "''"]),
        # choices
        ("model.pooling=maximum", ["model.pooling", "max, average, none", "'maximum'"]),
        ("model.activation=rellu", ["model.activation", "relu", "'rellu'"]),
        ("normalize.scheme=std", ["normalize.scheme", "standard, minmax, none", "'std'"]),
        ("callbacks.monitor=val_loss", ["callbacks.monitor", "validation/loss", "'val_loss'"]),
        ("trainer.precision=fp16", ["trainer.precision", "auto, fp32, bf16", "'fp16'"]),
        # keys and options
        ("model.droput=0.1", ["model.droput", "did you mean 'dropout'?", "kernel_size"]),
        ("+model.droput=0.1", ["model.droput", "0.1", "did you mean 'dropout'?"]),
        ("modle=cnn", ["modle", "did you mean 'model'?"]),
        ("model=cmn", ["model", "'cmn'", "did you mean 'cnn'?", "cnn, mlp, resnet"]),
        ("+extra=1", ["extra", "no such key", "1"]),
        ("~model.dropout", ["model.dropout", "must be given"]),
        ("+augment.transforms.rotate.degrees=3", ["augment.transforms.rotate.degrees", "limit"]),
        # combinations
        ("trainer.batch_size=2", ["trainer.batch_size", "3 or more with batch normalization", "2"]),
        ("augment.online=true", ["augment.online", "copies", "2"]),
        ("data.split={validation:0.5,test:0.5}", ["data.split", "below 1", "0.5 and 0.5"]),
        ("callbacks.best=null", ["callbacks.best", "ModelCheckpoint", "null"]),
    ],
)
def test_a_wrong_value_is_refused_with_key_rule_and_value(given: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        compose_config(CONF, PARAMS, [given])
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("given", "layer", "size"),
    [
        (["model.channels=[8,8,8,8]"], "the pooling of block 4", "1x1"),
        (["model.pool_size=9"], "the pooling of block 1", "8x8"),
        (["model.kernel_size=9", "model.padding=valid"], "the convolution of block 1", "8x8"),
        (["model.kernel_size=5", "model.padding=valid"], "the convolution of block 2", "2x2"),
        (["model.stride=2", "model.pooling=max"], "the pooling of block 2", "1x1"),
        (["model.kernel_size=7", "model.padding=1", "model.pooling=none"], "the convolution of block 2", "4x4"),
    ],
)
def test_a_network_that_leaves_no_pixels_is_refused_with_the_layer_and_its_input(
    given: list[str], layer: str, size: str
) -> None:
    with pytest.raises(ConfigError, match="leaves no pixels") as refused:
        compose_config(CONF, PARAMS, given)
    assert layer in str(refused.value)
    assert f"it gets {size}" in str(refused.value)


@pytest.mark.parametrize(
    ("given", "where"),
    [
        ("model._target_=os.system", "model._target_"),
        ("model._target_=torch.hub.load", "model._target_"),
        ("optimizer._target_=imagewright.models.cnn.CNN", "optimizer._target_"),
        ("optimizer._target_=torch.optim.lr_scheduler.types.FunctionType", "optimizer._target_"),
        ("augment.transforms.rotate._target_=albumentations.os.system", "augment.transforms.rotate._target_"),
        ("callbacks.early_stopping._target_=subprocess.Popen", "callbacks.early_stopping._target_"),
        ("+trainer._target_=os.system", "trainer._target_"),
        ("+callbacks.more={_target_: os.system}", "callbacks.more._target_"),
    ],
)
def test_a_target_outside_the_allow_list_is_refused(given: str, where: str) -> None:
    with pytest.raises(ConfigError, match=where.replace(".", r"\.")):
        compose_config(CONF, PARAMS, [given])


def test_an_optimizer_of_torch_without_a_schema_can_be_added_but_nothing_is_built_inside_it(tmp_path: Path) -> None:
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf)
    (conf / "optimizer" / "nadam.yaml").write_text("_target_: torch.optim.NAdam\nlr: 0.01\n", "utf-8")
    config = compose_config(conf, PARAMS, ["optimizer=nadam"])
    assert config["optimizer"] == {"_target_": "torch.optim.NAdam", "lr": 0.01}
    with pytest.raises(ConfigError, match=r"optimizer\.hook\._target_"):
        compose_config(conf, PARAMS, ["optimizer=nadam", "+optimizer.hook={_target_: os.system}"])


@pytest.mark.parametrize(
    "content",
    [
        "hydra:\n  callbacks:\n    mine:\n      _target_: os.system\n",
        "hydra:\n  launcher:\n    _target_: os.system\n",
        "hydra:\n  job_logging:\n    handlers:\n      mine:\n        (): os.system\n",
        "hydra.launcher:\n  _target_: subprocess.Popen\n",
        "hydra:\n  job:\n    env_set:\n      PATH: elsewhere\n",
        "hydra:\n  launcher:\n    setup: [rm -r x]\n",
        "# @package hydra.callbacks.mine\n_target_: os.system\n",
        "defaults:\n  - /tracking@hydra.callbacks.mine: mlflow\n",
    ],
)
def test_a_file_of_conf_cannot_make_hydra_run_code(tmp_path: Path, content: str) -> None:
    shutil.copytree(CONF, tmp_path / "conf")
    check_hydra_files(tmp_path / "conf")
    (tmp_path / "conf" / "experiment" / "evil.yaml").write_text(f"# @package _global_\n{content}", "utf-8")
    with pytest.raises(ConfigError, match=r"evil\.yaml"):
        check_hydra_files(tmp_path / "conf")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"model": "cmn"}, ["model", "'cmn'", "did you mean 'cnn'?"]),
        ({"modle": "cnn"}, ["modle", "no such group", "did you mean 'model'?"]),
        ({"model": None}, ["model", "must name a file", "None"]),
        ({"override": 3}, ["override", "a mapping", "3"]),
        ({"override": {"model.droput": 0.5}}, ["model.droput", "0.5", "did you mean 'dropout'?"]),
        ({"override": {"model": {"droput": 0.5}}}, ["model.droput", "0.5", "did you mean 'dropout'?"]),
        ({"override": {"optimizer.lr": "fast"}}, ["optimizer.lr", "above 0", "'fast'"]),
        ({"override": {"modle.dropout": 0.5}}, ["modle", "did you mean 'model'?"]),
        ({"override": {"model": 3}}, ["model"]),
        ({"override": {"seed": 2**32}}, ["seed", "from 0 to 4294967295", "4294967296"]),
        ({"override": {"hydra.run.dir": "x"}}, ["hydra.run.dir", "command line"]),
        ({"override": {"optimizer.lr": "${nowhere}"}}, ["optimizer.lr", "nowhere"]),
    ],
)
def test_a_wrong_choice_in_params_is_refused(params: Path, choices: dict[str, Any], words: list[str]) -> None:
    change(params, **choices)
    with pytest.raises(ConfigError) as refused:
        compose_config(CONF, params)
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_a_group_without_a_choice_is_refused(params: Path) -> None:
    params.write_text(params.read_text("utf-8").replace("model: cnn\n", ""), "utf-8")
    with pytest.raises(ConfigError, match=r"model: must be chosen, got nothing; valid: cnn, mlp, resnet"):
        compose_config(CONF, params)


@pytest.mark.parametrize("content", ["model: [cnn\n", "- cnn\n", "model: cnn\nmodel: mlp\n", ""])
def test_a_params_file_that_is_no_mapping_is_refused(params: Path, content: str) -> None:
    params.write_text(content, "utf-8")
    with pytest.raises(ConfigError, match=r"params\.yaml"):
        compose_config(CONF, params)


def test_an_override_in_params_is_nested_or_dotted_and_a_number_may_be_written_with_an_exponent(params: Path) -> None:
    params.write_text(
        params.read_text("utf-8").replace(
            "override: {}", "override:\n  optimizer.lr: 1e-3\n  model:\n    dropout: 0.5\n"
        ),
        "utf-8",
    )
    config = compose_config(CONF, params)
    assert config["optimizer"]["lr"] == 0.001
    assert config["model"]["dropout"] == 0.5


def test_the_command_line_wins_over_override_which_wins_over_an_experiment_which_wins_over_the_choices(
    params: Path,
) -> None:
    assert compose_config(CONF, params)["model"]["_target_"].endswith("CNN")
    change(params, experiment="digits_mlp_baseline")
    config = compose_config(CONF, params)
    assert config["model"]["_target_"].endswith("MLP")
    change(params, override={"model.dropout": 0.4})
    assert compose_config(CONF, params)["model"]["dropout"] == 0.4
    assert compose_config(CONF, params, ["model.dropout=0.1"])["model"]["dropout"] == 0.1


def test_a_value_meant_for_another_option_than_the_one_on_the_command_line_is_left_out_and_said(params: Path) -> None:
    change(params, override={"model.kernel_size": 5, "optimizer.lr": 0.02})
    _, said = read_choices(params, CONF).primary_config(["model=mlp"])
    assert len(said) == 1
    assert "model.kernel_size" in said[0]
    config = compose_config(CONF, params, ["model=mlp"])
    assert "kernel_size" not in config["model"]
    assert config["optimizer"]["lr"] == 0.02
    assert compose_config(CONF, params, ["model=cnn"])["model"]["kernel_size"] == 5


def test_any_callback_of_lightning_can_be_added() -> None:
    node = "{_target_: pytorch_lightning.callbacks.LearningRateMonitor, logging_interval: epoch}"
    config = compose_config(CONF, PARAMS, [f"+callbacks.lr={node}"])
    assert config["callbacks"]["lr"]["logging_interval"] == "epoch"


def test_compose_ends_with_status_2_and_one_line_and_leaves_the_last_configuration(fresh: Project) -> None:
    stage = ("python", "-m", "imagewright.stages.compose", "--conf", "conf", "--params", "params.yaml")
    fresh.run(*stage, "--out", "config.yaml")
    before = (fresh.root / "config.yaml").read_bytes()
    fresh.choose(override={"model.dropout": 2})
    printed = fresh.run(*stage, "--out", "config.yaml", status=2)
    assert printed.splitlines() == ["error: model.dropout: must be 0 or more and below 1, got 2"]
    assert "model.dropout: must be" in fresh.run("dvc", "repro", "compose", status=255)
    assert (fresh.root / "config.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["model=cmn"], "did you mean 'cnn'?"),
        (["model.droput=0.1"], "did you mean 'dropout'?"),
        (["model.dropout=2"], "below 1"),
        (["model.dropout="], "model.dropout"),
        (["model.dropout=[1"], "model.dropout"),
        (["-m", "model=cnn,cmn"], "did you mean 'cnn'?"),
        (["-m", "model.droput=0.1,0.2"], "did you mean 'dropout'?"),
        (["hydra/launcher=jobli"], "jobli"),
        (["hydra.mode=MULTIRUN"], "the flag -m"),
    ],
)
def test_a_wrong_word_for_train_ends_with_status_2_and_one_line(
    fresh: Project, arguments: list[str], words: str
) -> None:
    printed = fresh.run("imagewright", "train", *arguments, status=2)
    (line,) = printed.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not (fresh.root / "mlruns").exists() or "-m" in arguments
