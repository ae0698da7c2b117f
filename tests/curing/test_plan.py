from dataclasses import replace

import pytest

from looksharp.curing.plan import BASELINES, CURE, baseline, check_baselines, cured, guidance_of, marked_places
from looksharp.data.sets.synthetic import biased_digits, digits
from looksharp.objectives.parsing import parse_objective
from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

RUN = RunConfig(
    parse_objective([{"icasc": {"theta": 0.7}}, "energy"]),
    network=NetworkConfig("cifar_resnet20"),
    marks=MarksConfig("old.json"),
    optimization=OptimizationConfig(lr=0.4),
    training=TrainingConfig(epochs=7, batch_size=50, seed=3),
)
MARKS = MarksConfig("masks", marked=20, marked_per_batch=25)
ICASC = RUN.objective[:1]


@pytest.fixture(scope="module")
def biased():
    return biased_digits(train=8, val=8, test=8)


def test_the_defaults_are_a_training():
    assert len(guidance_of(CURE.guidance)) >= 1
    assert marked_places(RUN) == 50 * CURE.marked_share
    assert 0 < CURE.marked_share < 1
    assert 0 < CURE.fine_tune_lr < 1


def test_a_cure_changes_nothing_but_guidance():
    objective = (*ICASC, *parse_objective("agreement:0.1"))
    expected = replace(RUN, marks=MARKS, objective=objective)
    assert cured(RUN, MARKS, "agreement:0.1") == expected
    assert cured(RUN, MARKS, "agreement:0.1", epochs=2) == replace(expected, training=replace(RUN.training, epochs=2))


def test_fine_tuning_starts_from_weights_at_a_lower_rate():
    config = cured(RUN, MARKS, weights="run/model.safetensors")
    assert config.network == NetworkConfig("cifar_resnet20", weights="run/model.safetensors")
    assert config.optimization == replace(RUN.optimization, lr=0.4 * CURE.fine_tune_lr)
    assert (config.marks, config.training) == (MARKS, RUN.training)


@pytest.mark.parametrize(
    ("name", "objective", "loss", "balance"),
    [
        ("labels", "icasc", {}, "none"),
        ("class_balanced", "icasc", {}, "class"),
        ("group_balanced", "icasc", {}, "group"),
        ("group_dro", "group_dro", {}, "group"),
        ("gain_ext", "gain", {"squared_error": 10.0}, "none"),
        ("contrast:2", "icasc", {"contrast": 2.0}, "none"),
    ],
)
def test_what_a_cure_is_compared_with_has_its_batches(name, objective, loss, balance):
    cure = cured(RUN, MARKS, "agreement:0.1", epochs=2)
    treatment = baseline(name, cure)
    assert treatment.name == name
    config = treatment.config
    first, *guidance = config.objective
    assert (first.name, config.training.balance) == (objective, balance)
    assert {part.name: part.settings["weight"] for part in guidance} == loss
    if objective == "icasc":
        assert first == RUN.objective[0]
    assert config.marks == cure.marks
    assert replace(config.training, balance="none") == cure.training
    assert (config.network, config.optimization, config.data) == (cure.network, cure.optimization, cure.data)


def test_dfr_trains_nothing():
    assert baseline("dfr", RUN).config is None


def test_comparisons_that_cannot_be_made(biased):
    check_baselines([*BASELINES, "energy", "agreement:0.5+contrast"], biased)
    without = digits(train=8, val=8, test=8)
    check_baselines(["labels", "class_balanced", "gain_ext"], without)
    for name in ("group_balanced", "group_dro", "dfr"):
        with pytest.raises(
            ValueError, match=rf"^compare {name} needs the group of every image, .* or leave {name} out$"
        ):
            check_baselines([name], without)
    with pytest.raises(ValueError, match=r"^compare must be of labels, .*, or guidance: .* 'dro' is not known; .*"):
        check_baselines(["dro"], biased)
    with pytest.raises(ValueError, match=r"^compare names dfr twice$"):
        check_baselines(["dfr", "energy", "dfr"], biased)
    several = replace(
        biased, splits={name: replace(split, targets=split.targets[:, None]) for name, split in biased.splits.items()}
    )
    for name in ("class_balanced", "dfr"):
        with pytest.raises(
            ValueError, match=rf"^compare {name} needs one class for each image, but these may have sev"
        ):
            check_baselines([name], several)
