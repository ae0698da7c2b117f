from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from looksharp.data.build import DataConfig
from looksharp.objectives.parsing import PartSettings, parse_objective
from looksharp.settings import settings_of
from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

SECTIONS = (DataConfig, NetworkConfig, MarksConfig, OptimizationConfig, TrainingConfig)
CONFIGS = {
    "defaults": RunConfig(),
    "icasc": RunConfig((PartSettings("icasc", {"mechanism": "channel_weighted", "theta": 0.5}),)),
    "root and size": RunConfig(data=DataConfig("voc", root=Path("data") / "VOCdevkit", image_size=64, val_share=0.0)),
    "built around": RunConfig(
        parse_objective("classification+branch:0.5"),
        network=NetworkConfig(
            "cifar_resnet20",
            architecture="attention_branch",
            settings={"preset": "official_code", "cut": None, "residual": True},
        ),
    ),
    "cluttered": RunConfig(
        data=DataConfig("cluttered_digits", settings={"distractors": 4, "test_distractors": [8, 64]})
    ),
    "marked": RunConfig(
        parse_objective(
            ["gain", {"agreement": {"backgrounds": "photos"}}, {"energy": {"layer": "layer3", "weight": 2.5}}]
        ),
        DataConfig("biased_digits", settings={"train": 100, "rho": 1.0}),
        NetworkConfig("torchvision/resnet18", pretrained=True),
        MarksConfig("data", 0.05, ["3", "yes", "1e3"], 4, True),
        OptimizationConfig("adamw", 1e-4, schedule="step", milestones=[1, 2], clip=1.0),
        TrainingConfig(3, 8, "crop", seed=11, patience=2, precision="bf16-mixed", device="cpu", devices=1, workers=0),
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_come_back_from_yaml(name):
    config = CONFIGS[name]
    assert RunConfig.from_flat(config.flat()) == config
    text = yaml.safe_dump(config.flat(), sort_keys=False)
    read = yaml.safe_load(text)
    assert read == config.flat()
    assert RunConfig.from_flat(read) == config


def test_the_flat_form_has_the_flags_names():
    flat = CONFIGS["marked"].flat()
    assert [list(part) for part in flat["objective"]] == [["gain"], ["agreement"], ["energy"]]
    assert flat["objective"][2]["energy"]["weight"] == 2.5
    assert (flat["data"], flat["backbone"], flat["marked"]) == ("biased_digits", "torchvision/resnet18", 0.05)
    assert (flat["optimizer"], flat["milestones"], flat["epochs"]) == ("adamw", [1, 2], 3)
    assert (flat["biased_digits"]["train"], flat["biased_digits"]["rho"]) == (100, 1.0)
    assert CONFIGS["root and size"].flat()["root"] == str(Path("data") / "VOCdevkit")
    built = CONFIGS["built around"].flat()
    assert (built["architecture"], built["objective"][1]["branch"]["weight"]) == ("attention_branch", 0.5)
    assert {"preset": "official_code", "cut": None, "residual": True}.items() <= built["attention_branch"].items()
    icasc = CONFIGS["icasc"].flat()["objective"][0]["icasc"]
    assert {"mechanism": "channel_weighted", "theta": 0.5}.items() <= icasc.items()


def test_every_setting_is_written_with_its_value():
    """A run folder says what it was trained with, also where nothing was asked for."""
    flat = RunConfig(data=DataConfig("voc"), network=NetworkConfig(architecture="attend_rectify")).flat()
    assert flat["objective"][0] == {"classification": {"label_smoothing": 0.0}}
    assert flat["objective"][1]["head_diversity"]["weight"] == 0.001
    assert set(flat["voc"]) == {"set"}
    assert flat["attend_rectify"]["heads"] == 4


def test_what_an_architecture_brings_shares_its_settings():
    config = RunConfig.from_flat(
        {
            "architecture": "attend_rectify",
            "attend_rectify": {"preset": "official_code"},
            "head_diversity": {"weight": 0.5},
        }
    )
    (part,) = [part for part in config.objective if part.name == "head_diversity"]
    assert part.settings["weight"] == 0.5
    smoothed = RunConfig.from_flat({"architecture": "attention_branch", "classification": {"label_smoothing": 0.2}})
    assert smoothed.part("branch").settings["label_smoothing"] == 0.2
    assert RunConfig(network=NetworkConfig(architecture="attend_rectify")).part("head_diversity") is not None


def test_no_name_means_two_things():
    names = [
        "objective",
        *(field.name for section in SECTIONS for field in fields(section) if field.name != "settings"),
    ]
    assert len(set(names)) == len(names)
    assert set(RunConfig().flat()) == {*names, "digits"}


def test_what_is_missing_takes_its_default():
    assert RunConfig.from_flat({}) == RunConfig()
    config = RunConfig.from_flat({"objective": "icasc", "icasc": None, "lr": 0.5, "root": "there"})
    expected = RunConfig(
        parse_objective("icasc"), data=DataConfig(root=Path("there")), optimization=OptimizationConfig(lr=0.5)
    )
    assert config == expected


def test_flat_values_are_copies():
    config = RunConfig((PartSettings("icasc", {"theta": 1.0}),))
    flat = config.flat()
    flat["objective"][0]["icasc"]["theta"] = 2.0
    flat["milestones"].append(9)
    assert config == RunConfig((PartSettings("icasc", {"theta": 1.0}),))
    values = {"objective": "icasc", "icasc": {"theta": 1.0}, "lr": 0.5}
    RunConfig.from_flat(values)
    assert values == {"objective": "icasc", "icasc": {"theta": 1.0}, "lr": 0.5}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"learning_rate": 0.1}, "'learning_rate' is not a setting; there are objective, data, "),
        ({"epoch": 1}, "'epoch' is not a setting; did you mean 'epochs'"),
        ({"objective": "gain", "icasc": {}}, "'icasc' is not a setting"),
        (
            {"guidance_loss": "energy"},
            "'guidance_loss' is a setting of an earlier version; what is asked of marks is a",
        ),
        ({"data": "voc", "voc": {"sett": "main"}}, r"'voc\.sett' is not a setting; did you mean 'voc\.set'"),
        ({"data": "voc", "voc": {"set": "mian"}}, r"voc\.set must be 'main', .*; got 'mian'; did you mean 'main'"),
        ({"data": "pets", "pets": {"fold": 1}}, r"'pets\.fold' is not a setting; there are none"),
        ({"architecture": "attend_rectfy"}, "architecture must be one of .*; did you mean 'attend_rectify'"),
        ({"objective": 3}, "objective must be parts"),
        ({"objective": "icasc", "icasc": 3}, "icasc must be settings, name: value; got 3"),
    ],
)
def test_wrong_settings_are_one_line(values, text):
    with pytest.raises(ValueError, match=rf"^{text}") as caught:
        RunConfig.from_flat(values)
    assert "\n" not in str(caught.value)


def test_an_architecture_is_plain_unless_named():
    with pytest.raises(ValueError, match=r"^'attention_branch' is not a setting"):
        RunConfig.from_flat({"attention_branch": {"preset": "paper"}})
    with pytest.raises(ValueError, match=r"^'cam' is not a setting"):
        RunConfig.from_flat({"architecture": "attention_branch", "cam": {"cut": None}})
    config = RunConfig.from_flat({"architecture": "attention_branch", "attention_branch": None})
    assert config == RunConfig(network=NetworkConfig(architecture="attention_branch"))


WRONG = (None, True, 3, 3.5, ["wrong"], {"wrong": 1}, float("nan"), "wrong")  # text may be a path


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.__name__)
def test_no_wrong_type_is_accepted(section):
    """Every setting, given what it is not, is refused in one line that names it."""
    from pydantic import TypeAdapter, ValidationError

    for name, setting in settings_of(section).items():
        if name in ("settings", "marks", "data", "architecture"):
            continue
        for value in WRONG[:-1] if name in ("root", "code") else WRONG:
            with_marks = {"marks": "data"} if section is MarksConfig else {}
            try:
                TypeAdapter(setting.annotation).validate_python(value, strict=True)
            except ValidationError:
                with pytest.raises(ValueError, match=rf"^{name} must be ") as caught:
                    section(**{name: value} | with_marks)
                assert "\n" not in str(caught.value)
