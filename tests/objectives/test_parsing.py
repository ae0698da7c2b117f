from pathlib import Path

import pytest
import torch
import yaml

from looksharp.data.split import Pixels
from looksharp.objectives import ICASC, PARTS, Agreement, BackgroundExchange, Classification
from looksharp.objectives.guidance.base import guidance_losses
from looksharp.objectives.parsing import build_objective, parse_objective
from looksharp.settings import SettingError
from looksharp.training.settings import MarksConfig, RunConfig


@pytest.mark.parametrize("name", guidance_losses())
def test_each_loss_by_its_name_and_weight(name):
    (part,) = (each.build() for each in parse_objective(name))
    assert type(part) is PARTS[name]
    assert part.weight == (10 if name in ("squared_error", "rrr") else 1)
    (part,) = (each.build() for each in parse_objective(f"{name}:0.25"))
    assert part.weight == 0.25


def test_agreement_brings_the_exchange_along():
    for choice, kinds in {
        "background_exchange": [BackgroundExchange],
        "agreement": [Agreement],
        "background_exchange+agreement": [BackgroundExchange, Agreement],
        "agreement + background_exchange": [Agreement, BackgroundExchange],
    }.items():
        assert [type(each.build()) for each in parse_objective(choice)] == kinds
    (part,) = (each.build() for each in parse_objective("agreement:0.1"))
    assert part.weight == 0.1


FORMS = {
    "short": "icasc+contrast:3+agreement:2",
    "list of short": ["icasc", "contrast:3+agreement:2"],
    "list": ["icasc", {"contrast": {"weight": 3}}, {"agreement": {"weight": 2.0}}],
    "mapping": {"icasc": None, "contrast": {"weight": 3}, "agreement": {"weight": "2"}},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_objective(form):
    parts = parse_objective(FORMS[form])
    icasc, contrast, agreement = build_objective(parts).parts
    assert isinstance(icasc, ICASC)
    assert (type(contrast), contrast.weight) == (PARTS["contrast"], 3)
    assert (type(agreement), agreement.weight) == (Agreement, 2)
    assert parse_objective([{part.name: part.settings} for part in parts]) == parts


def test_settings_of_a_part_reach_it_and_come_back():
    value = ["classification", {"contrast": {"layer": "layer3", "warmup": 5, "mechanism": "layer_cam"}}]
    parts = parse_objective(value)
    contrast = build_objective(parts).parts[1]
    assert (contrast.layer, contrast.warmup, contrast.mechanism, contrast.weight) == ("layer3", 5, "layer_cam", 1)
    assert [{part.name: part.settings} if part.settings else part.name for part in parts] == value


def test_settings_are_converted_as_files_hold_them():
    (part,) = parse_objective({"icasc": {"theta": "7e-1", "layers": ["a", "b"]}})
    assert part.settings == {"theta": 0.7, "layers": ("a", "b")}


def test_backgrounds_are_read_when_training_is_prepared(tmp_path):
    (exchange,) = (each.build() for each in parse_objective({"background_exchange": {"backgrounds": str(tmp_path)}}))
    assert exchange.backgrounds == tmp_path
    with pytest.raises(ValueError, match="holds no image"):
        exchange.prepare(None, Pixels((8, 8)), 0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("contrst", "objective part 'contrst' is not known; did you mean 'contrast'?"),
        ("", "objective part '' is not known; there are"),
        ("energy+", "objective part '' is not known; there are"),
        ("energy+energy:2", "objective names energy twice; got energy+energy"),
        ("background_exchange:2", "objective part background_exchange takes no weight; got 'background_exchange:2'"),
        ("energy:much", "energy.weight must be a number of at least 0; got 'much'"),
        ("agreement:-1", "agreement.weight must be a number of at least 0; got '-1'"),
        ("agreement:nan", "got 'nan'"),
        ("agreement:inf", "got 'inf'"),
        ({"icasc": {"thetta": 1}}, "'icasc.thetta' is not a setting; did you mean 'icasc.theta'?"),
        ({"icasc": {"theta": "high"}}, "icasc.theta must be a number; got 'high'"),
        ({"icasc": {"mechanism": "gradcam"}}, "mechanism 'gradcam' is not known; did you mean 'grad_cam'?"),
        ({"icasc": {"mechanism": 3}}, "icasc.mechanism must be text or a function; got 3"),
        ({"icasc": 0.5}, "icasc must be settings, name: value; got 0.5"),
        ([3], "a part of objective must be its name, or name: settings; got 3"),
        (None, "objective must be parts, such as icasc+agreement:0.3, or a list of them; got None"),
    ],
)
def test_what_is_no_objective(value, message):
    with pytest.raises(SettingError) as error:
        parse_objective(value)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("energy+agreement", "objective 'energy+agreement' does not classify; add one of classification, gain, group_"),
        ("gain+icasc", "an objective classifies once; got GAIN and ICASC: leave one out"),
        ({"gain": {"warmup": -1}}, "gain.warmup must be a number of steps >= 0; got -1"),
    ],
)
def test_what_cannot_be_built(value, message):
    with pytest.raises(SettingError) as error:
        build_objective(parse_objective(value))
    assert message in str(error.value)


def test_attention_terms_alone_combine_with_another_part_that_classifies():
    parts = build_objective(parse_objective(["gain", {"icasc": {"classifies": False}}])).parts
    assert [part.classifies for part in parts] == [True, False]


def test_a_part_is_an_objective_by_itself():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    batch = torch.rand(2, 3, 2, 2), torch.tensor([0, 2])
    alone, summed = Classification()(model, batch), build_objective(parse_objective("classification"))(model, batch)
    torch.testing.assert_close(alone.loss, summed.loss)


def test_what_is_written_is_plain_yaml():
    value = [{"icasc": {"layers": ["a", "b"]}}, {"agreement": {"backgrounds": "photos"}}]
    icasc, agreement = parts = parse_objective(value)
    assert icasc.settings == {"layers": ("a", "b")}
    assert agreement.settings == {"backgrounds": Path("photos")}
    written = yaml.safe_load(yaml.safe_dump(RunConfig(parts, marks=MarksConfig("data")).flat()))["objective"]
    assert [list(part) for part in written] == [["icasc"], ["agreement"]]
    assert written[0]["icasc"]["layers"] == value[0]["icasc"]["layers"]
    assert written[1]["agreement"]["backgrounds"] == value[1]["agreement"]["backgrounds"]
