from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from looksharp.data.build import DataConfig
from looksharp.objectives import OBJECTIVES
from looksharp.training.settings import GuidanceConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

SECTIONS = (DataConfig, NetworkConfig, GuidanceConfig, OptimizationConfig, TrainingConfig)
CONFIGS = {
    "defaults": RunConfig(),
    "icasc": RunConfig("icasc", {"mechanism": "channel_weighted", "theta": 0.5}),
    "root and size": RunConfig(data=DataConfig("voc", root=Path("data") / "VOCdevkit", image_size=64, val_share=0.0)),
    "built around": RunConfig(
        network=NetworkConfig("cifar_resnet20", architecture="attention_branch", branch_weight=0.5),
        architecture_options={"preset": "official_code", "cut": None, "residual": True},
    ),
    "cluttered": RunConfig(data=DataConfig("cluttered_digits", distractors=4, test_distractors=[8, 64])),
    "guided": RunConfig(
        "gain",
        {},
        DataConfig("biased_digits", train_size=100, rho=1.0),
        NetworkConfig("torchvision/resnet18", pretrained=True),
        GuidanceConfig("data", 0.05, ["3", "yes", "1e3"], 4, True, "energy:2.5", "photos", "layer3", 100),
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
    flat = CONFIGS["guided"].flat()
    assert flat["objective"] == "gain"
    assert flat["gain"] == {}
    assert (flat["data"], flat["backbone"], flat["guided"]) == ("biased_digits", "torchvision/resnet18", 0.05)
    assert (flat["optimizer"], flat["milestones"], flat["epochs"]) == ("adamw", [1, 2], 3)
    assert CONFIGS["root and size"].flat()["root"] == str(Path("data") / "VOCdevkit")
    built = CONFIGS["built around"].flat()
    assert (built["architecture"], built["branch_weight"]) == ("attention_branch", 0.5)
    assert built["attention_branch"] == {"preset": "official_code", "cut": None, "residual": True}
    assert CONFIGS["icasc"].flat()["icasc"] == {"mechanism": "channel_weighted", "theta": 0.5}


def test_no_name_means_two_things():
    names = ["objective", *OBJECTIVES, *(field.name for section in SECTIONS for field in fields(section))]
    assert len(set(names)) == len(names)
    assert set(RunConfig().flat()) == set(names) - (set(OBJECTIVES) - {"classification"})


def test_what_is_missing_takes_its_default():
    assert RunConfig.from_flat({}) == RunConfig()
    config = RunConfig.from_flat({"objective": "icasc", "icasc": None, "lr": 0.5, "root": "there"})
    assert config == RunConfig("icasc", data=DataConfig(root=Path("there")), optimization=OptimizationConfig(lr=0.5))


def test_flat_values_are_copies():
    config = RunConfig(options={"theta": 1.0})
    flat = config.flat()
    flat["classification"]["theta"] = 2.0
    flat["milestones"].append(9)
    assert config == RunConfig(options={"theta": 1.0})
    values = {"objective": "icasc", "icasc": {"theta": 1.0}, "lr": 0.5}
    RunConfig.from_flat(values).options["theta"] = 3.0
    assert values == {"objective": "icasc", "icasc": {"theta": 1.0}, "lr": 0.5}


@pytest.mark.parametrize(
    ("values", "name"), [({"learning_rate": 0.1}, "learning_rate"), ({"objective": "gain", "icasc": {}}, "icasc")]
)
def test_unknown_settings_are_named(values, name):
    with pytest.raises(ValueError, match=rf"^'{name}' is no setting of a run$"):
        RunConfig.from_flat(values)


def test_an_architecture_is_plain_unless_named():
    with pytest.raises(ValueError, match=r"^'attention_branch' is no setting of a run$"):
        RunConfig.from_flat({"attention_branch": {"preset": "paper"}})
    with pytest.raises(ValueError, match=r"^'cam' is no setting of a run$"):
        RunConfig.from_flat({"architecture": "attention_branch", "cam": {"cut": None}})
    config = RunConfig.from_flat({"architecture": "attention_branch", "attention_branch": None})
    assert config == RunConfig(network=NetworkConfig(architecture="attention_branch"))
