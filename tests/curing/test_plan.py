from dataclasses import replace

import pytest

from looksharp.curing.plan import BASELINES, CURE, baseline, check_baselines, cured, guided_places
from looksharp.data.sets.synthetic import biased_digits, digits
from looksharp.objectives.parsing import guidance_parts
from looksharp.training.settings import GuidanceConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

RUN = RunConfig(
    "icasc",
    {"theta": 0.7},
    network=NetworkConfig("cifar_resnet20"),
    guidance=GuidanceConfig("old.json", guidance_loss="energy"),
    optimization=OptimizationConfig(lr=0.4),
    training=TrainingConfig(epochs=7, batch_size=50, seed=3),
)
GUIDANCE = GuidanceConfig("masks", guided=20, guided_per_batch=25, guidance_loss="agreement:0.1")


@pytest.fixture(scope="module")
def biased():
    return biased_digits(train=8, val=8, test=8)


def test_the_defaults_are_a_training():
    assert len(guidance_parts(CURE.guidance_loss)) >= 1
    assert guided_places(RUN) == 50 * CURE.guided_share
    assert 0 < CURE.guided_share < 1
    assert 0 < CURE.fine_tune_lr < 1


def test_a_cure_changes_nothing_but_guidance():
    assert cured(RUN, GUIDANCE) == replace(RUN, guidance=GUIDANCE)
    assert cured(RUN, GUIDANCE, epochs=2) == replace(RUN, guidance=GUIDANCE, training=replace(RUN.training, epochs=2))


def test_fine_tuning_starts_from_weights_at_a_lower_rate():
    config = cured(RUN, GUIDANCE, weights="run/model.safetensors")
    assert config.network == NetworkConfig("cifar_resnet20", weights="run/model.safetensors")
    assert config.optimization == replace(RUN.optimization, lr=0.4 * CURE.fine_tune_lr)
    assert (config.guidance, config.training) == (GUIDANCE, RUN.training)


@pytest.mark.parametrize(
    ("name", "objective", "loss", "balance"),
    [
        ("labels", "icasc", "none", "none"),
        ("class_balanced", "icasc", "none", "class"),
        ("group_balanced", "icasc", "none", "group"),
        ("group_dro", "group_dro", "none", "group"),
        ("gain_ext", "gain", "squared_error", "none"),
        ("contrast:2", "icasc", "contrast:2", "none"),
    ],
)
def test_what_a_cure_is_compared_with_has_its_batches(name, objective, loss, balance):
    cure = cured(RUN, GUIDANCE, epochs=2)
    treatment = baseline(name, cure)
    assert treatment.name == name
    config = treatment.config
    assert (config.objective, config.guidance.guidance_loss, config.training.balance) == (objective, loss, balance)
    assert config.options == (RUN.options if objective == "icasc" else {})
    same = replace(config.guidance, guidance_loss=cure.guidance.guidance_loss)
    assert same == cure.guidance
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
    with pytest.raises(
        ValueError, match=r"^compare must be of labels, .*, or a guidance loss: .* 'dro' is not known; .*"
    ):
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
