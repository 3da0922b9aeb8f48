"""What a configuration may name, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagewright.errors import ConfigError
from imagewright.targets import ALLOWED, accepts, build, check

GOOD = {
    "data": "imagewright.data.sources.digits.Digits",
    "augment": "albumentations.HorizontalFlip",
    "model": "imagewright.models.cnn.CNN",
    "optimizer": "torch.optim.AdamW",
    "scheduler": "imagewright.training.schedules.cosine",
    "callbacks": "pytorch_lightning.callbacks.EarlyStopping",
}
BAD = [
    "os.system",
    "builtins.eval",
    "eval",
    "subprocess.Popen",
    "torch.load",
    "torch.hub.load",
    "torch.optim",
    "torch.optim.",
    "torch.optim.os.System",
    "torch.optim.lr_scheduler.types.FunctionType",
    "albumentations.os.system",
    "albumentations.core.composition.Compose",
    "imagewright.models.saved.torch.Tensor",
    "imagewright.models.saved.pickle.Unpickler",
    "imagewright.data.sources.digits.np.fromfile",
    "imagewright.training.schedules.math.cos",
    "pytorch_lightning.callbacks.model_checkpoint.Path",
    "pytorch_lightning.Trainer",
    "xtorch.optim.AdamW",
    "torchXoptim.AdamW",
    "torch.optim.AdamW\n",
    " torch.optim.AdamW",
    "torch.optim.__builtins__",
    "torch.optim._Adam",
    "torch/optim/AdamW",
    "",
    None,
    3,
    True,
    ["torch.optim.AdamW"],
    {"_target_": "torch.optim.AdamW"},
]


@pytest.mark.parametrize("section", ALLOWED)
def test_each_section_takes_its_own_targets_and_no_other_sections(section: str) -> None:
    assert set(GOOD) == set(ALLOWED)
    check(section, GOOD[section], f"{section}._target_")
    for other in GOOD.keys() - {section}:
        with pytest.raises(ConfigError, match=rf"^{section}\._target_: must be of the form"):
            check(section, GOOD[other], f"{section}._target_")


@pytest.mark.parametrize("target", BAD, ids=repr)
def test_a_target_that_is_not_on_the_list_is_refused_with_key_and_value(target: object) -> None:
    for section in ALLOWED:
        with pytest.raises(ConfigError) as raised:
            check(section, target, f"{section}.part._target_")
        assert str(raised.value).startswith(f"{section}.part._target_: must be of the form ")
        assert repr(target) in str(raised.value)


@pytest.mark.parametrize("target", BAD, ids=repr)
def test_what_check_refuses_is_not_built(target: object) -> None:
    for section in ALLOWED:
        with pytest.raises(ConfigError, match="must be of the form"):
            build(section, {"_target_": target, "command": "true"})


@pytest.mark.parametrize("section", ["trainer", "normalize", "tracking", "seed", "nothing"])
@pytest.mark.parametrize("target", ["torch.optim.AdamW", "os.system", None])
def test_a_section_without_targets_refuses_any(section: str, target: str | None) -> None:
    for refused in (lambda: check(section, target, section), lambda: build(section, {"_target_": target})):
        with pytest.raises(ConfigError, match=f"the section {section} takes no _target_"):
            refused()


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("optimizer", "torch.optim.AdamX"),
        ("model", "imagewright.models.cnn.Cnn"),
        ("model", "imagewright.models.nothing.CNN"),
        ("data", "imagewright.data.sources.nothing.Digits"),
        ("scheduler", "imagewright.training.schedules.triangle"),
        ("callbacks", "pytorch_lightning.callbacks.EarlyStop"),
    ],
)
def test_a_name_that_does_not_exist_is_refused(section: str, target: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{section}: _target_ {target} does not exist"):
        build(section, {"_target_": target})
    with pytest.raises(ConfigError, match="does not exist"):
        accepts(section, {"_target_": target}, "lr")


def test_a_target_is_built_with_the_nodes_keys_and_the_given_arguments() -> None:
    weight = torch.nn.Parameter(torch.zeros(3))
    built = build("optimizer", {"_target_": "torch.optim.SGD", "lr": 0.25, "momentum": 0.5}, [weight], nesterov=True)
    assert type(built) is torch.optim.SGD
    (group,) = built.param_groups
    assert group["params"] == [weight]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.25, 0.5, True)


@pytest.mark.parametrize(
    "keys", [{"learning_rate": 0.1}, {"lr": -1.0}, {"lr": 0.1, "params": []}], ids=["unknown", "wrong value", "twice"]
)
def test_keys_that_the_target_does_not_take_are_refused_by_name(keys: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as raised:
        build("optimizer", {"_target_": "torch.optim.SGD", **keys}, [torch.nn.Parameter(torch.zeros(3))])
    assert str(raised.value).startswith(f"optimizer: torch.optim.SGD does not take the keys {keys}: ")


def test_an_argument_is_accepted_if_the_signature_has_it() -> None:
    assert accepts("optimizer", {"_target_": "torch.optim.AdamW"}, "fused")
    assert not accepts("optimizer", {"_target_": "torch.optim.Rprop"}, "fused")


@pytest.mark.parametrize(
    ("section", "target"),
    [
        ("model", "imagewright.models.saved.Path"),
        ("model", "imagewright.models.saved.Mapping"),
        ("scheduler", "imagewright.training.schedules.math"),
        ("optimizer", "torch.optim.Any"),
    ],
)
def test_what_a_module_only_imports_cannot_be_named(section: str, target: str) -> None:
    with pytest.raises(ConfigError, match=r"does not exist|is not defined there"):
        build(section, {"_target_": target})
