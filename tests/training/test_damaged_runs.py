"""Run folders of which a file is damaged: refused in one line that names the file and the field, or read."""

import json
import random
import shutil

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from looksharp.training import load_run, train
from looksharp.training.facts import read_facts
from looksharp.training.folder import read_config
from looksharp.training.state import fit_weights, read_checkpoint, read_state


def load_weights(model, path):
    fit_weights(model, read_state(path), path)


@pytest.fixture(scope="module")
def whole(few_settings, few_digits, tmp_path_factory):
    return train(few_settings(), tmp_path_factory.mktemp("runs") / "whole", data=few_digits, progress=False)


@pytest.fixture
def run(whole, tmp_path):
    shutil.copytree(whole.path, tmp_path / "run")
    return tmp_path / "run"


def refused(read, *arguments):
    """The one line in which something is refused."""
    with pytest.raises((ValueError, OSError)) as error:
        read(*arguments)
    text = str(error.value)
    assert text
    assert len(text.splitlines()) == 1, text
    return text


FACTS = {
    "[]": "run.json must hold facts, name: value; got []",
    "null": "run.json must hold facts, name: value; got None",
    "": "run.json is not JSON: the run is damaged; train it again",
    "[" * 100_000: "run.json is not JSON: the run is damaged; train it again",
}
FIELDS = [
    ("classes", None, "run.json: classes must be a list, each text; got None"),
    ("classes", "0123456789", "run.json: classes must be a list, each text; got '0123456789'"),
    ("classes", [0, 1], "run.json: classes must be a list, each text; got 0"),
    ("classes", [], "run.json: classes must be names, each of them once; got none"),
    ("classes", ["a", "a"], "run.json: classes must be names, each of them once; got a, a"),
    ("classes", ["cat", "dog"], "last.ckpt are of another network: fc."),
    ("pixels", None, "run.json: pixels must be settings, name: value; got None"),
    ("pixels", {}, "run.json: pixels.size is needed and is not given"),
    ("pixels", {"size": 48}, "run.json: pixels.size must be a list of 2; got 48"),
    ("pixels", {"size": [48, "48"]}, "run.json: pixels.size must be a list of 2; got '48'"),
    ("pixels", {"size": [0, 48]}, "run.json: size must be 1 to 8192 px; got 0 x 48"),
    ("pixels", {"size": [10**6, 10**6]}, "run.json: size must be 1 to 8192 px; got 1000000 x 1000000"),
    ("pixels", {"size": [48, 48], "std": [0, 1, 1]}, "run.json: std must be above 0 in every channel; got 0, 1, 1"),
    ("pixels", {"size": [48, 48], "mean": [float("nan"), 1, 1]}, "run.json: pixels.mean must be a list of 3; got nan"),
    ("multilabel", "no", "run.json: multilabel must be true or false; got 'no'"),
    ("images", [64], "run.json: images must be settings, name: value; got [64]"),
    ("images", {"train": -1}, "run.json: images must be at least 0; got -1"),
    ("marked", 1.5, "run.json: marked must be a whole number of at least 0; got 1.5"),
    ("seconds", "long", "run.json: seconds must be a number of at least 0 or null; got 'long'"),
    ("self", 1, "run.json: 'self' is not a setting"),
    ("guided", 3, "run.json: 'guided' is not a setting; there are classes"),
]


@pytest.mark.parametrize("text", FACTS)
def test_run_json_that_is_none(text, run):
    (run / "run.json").write_text(text)
    assert refused(load_run, run).endswith(FACTS[text])
    assert refused(read_facts, str(run)).endswith(FACTS[text])


def test_run_json_that_is_no_text(run):
    (run / "run.json").write_bytes(b"\xff\x00")
    assert refused(load_run, run).endswith("run.json is not UTF-8 text")


@pytest.mark.parametrize(("field", "value", "text"), FIELDS, ids=repr)
def test_a_field_of_run_json(field, value, text, run):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {field: value}))
    assert text in refused(load_run, run)


CONFIG = {
    "epochs": (None, "config.yaml: epochs must be a whole number of at least 1; got None"),
    "lr": ("fast", "config.yaml: lr must be a number above 0; got 'fast'"),
    "backbone": ("small_deep", "last.ckpt are of another network: "),
    "objective": (3, "config.yaml: objective must be "),
    "guidance_loss": ("agreement", "config.yaml: 'guidance_loss' is a setting of an earlier version; what is asked"),
    "marks": ([], "config.yaml: marks must be text or null; got []"),
}


@pytest.mark.parametrize("name", CONFIG)
def test_a_field_of_config_yaml(name, run):
    value, text = CONFIG[name]
    values = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(values | {name: value}))
    assert text in refused(load_run, str(run))


@pytest.mark.parametrize(
    "text", ["- epochs", "3", "1: 2", "null: 3", "[1]: 3", "\x00", "&a [*a]", "a: !!python/name:os.x"]
)
def test_config_yaml_that_holds_no_settings(text, run):
    (run / "config.yaml").write_text(text)
    assert "config.yaml" in refused(load_run, run)


def changed(run, **values):
    path = run / "checkpoints" / "last.ckpt"
    torch.save(torch.load(path, weights_only=True) | values, path)


@pytest.mark.parametrize("held", [[], torch.zeros(3), None, "text", {}, {"state_dict": None}, {"state_dict": {}}])
def test_a_checkpoint_that_holds_something_else(held, run, few_settings, few_digits):
    torch.save(held, run / "checkpoints" / "last.ckpt")
    assert "last.ckpt " in refused(load_run, run)
    assert "last.ckpt " in refused(lambda: train(few_settings(), run, data=few_digits, resume=True, progress=False))
    assert "last.ckpt " in refused(load_weights, load_run(run, "best", "cpu").model, run / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize(
    "values",
    [
        {"state_dict": {"model.fc.weight": 3}},
        {"state_dict": {3: torch.zeros(3)}},
        {"optimizer_states": None},
        {"optimizer_states": []},
        {"optimizer_states": [{"state": {}}]},
        {"lr_schedulers": None},
        {"lr_schedulers": [3]},
        {"loops": {}},
        {"epoch": "1"},
        {"pytorch-lightning_version": 3},
    ],
    ids=repr,
)
def test_resuming_from_a_checkpoint_of_which_a_part_is_damaged(values, run, few_settings, few_digits):
    changed(run, **values)
    text = refused(lambda: train(few_settings(epochs=2), run, data=few_digits, resume=True, progress=False))
    assert "last.ckpt" in text
    assert (run / "config.yaml").is_file()


def test_a_state_dict_in_place_of_a_checkpoint(run, whole):
    torch.save(whole.model.state_dict(), run / "checkpoints" / "last.ckpt")
    text = refused(load_run, run)
    assert text.endswith("last.ckpt is a state_dict, not a run's checkpoint: start a training from it with --weights")
    model = load_run(run, "best", "cpu").model
    torch.nn.init.zeros_(model.fc.weight)
    load_weights(model, run / "checkpoints" / "last.ckpt")
    assert torch.equal(model.fc.weight, whole.model.fc.weight)


def test_weights_that_are_not_finite(run):
    path = run / "checkpoints" / "last.ckpt"
    state = torch.load(path, weights_only=True)["state_dict"]
    state["model.fc.weight"][2, 3] = float("nan")
    changed(run, state_dict=state)
    text = refused(load_run, run)
    assert text.endswith("last.ckpt are not finite (fc.weight): the training diverged; train again with a lower --lr")
    tensors = load_file(run / "model.safetensors")
    tensors["fc.bias"][0] = float("inf")
    save_file(tensors, run / "model.safetensors")
    assert "safetensors are not finite (fc.bias)" in refused(
        load_weights, load_run(run, "best", "cpu").model, run / "model.safetensors"
    )


@pytest.mark.parametrize(
    "text", ["epoch,seconds\n0,x\n", "epoch,seconds\n0,1,2\n", "a,b\n1,2\n", "epoch,seconds\n0,\n"]
)
def test_metrics_that_are_damaged(text, run):
    (run / "metrics.csv").write_text(text)
    assert "metrics.csv is damaged" in refused(lambda: load_run(run, device="cpu").history)


def test_names_that_are_none(run):
    assert "device must be" in refused(load_run, run, "last", "gpu")
    assert "device must be" in refused(load_run, run, "last", "cpu:x")
    assert "has no checkpoint checkpoints/newest.ckpt" in refused(load_run, run, "newest")


# Fuzz ------------------------------------------------------------------------------------------------------------


def fresh(run, whole):
    for name in ("run.json", "config.yaml", "checkpoints/last.ckpt"):
        shutil.copy(whole.path / name, run / name)


def assert_read_or_refused(run, name):
    """All that reading a run folder does, but for building the network, ends well or in a line that names the file."""
    try:
        read_facts(run)
        read_config(run)
        read_checkpoint(run / "checkpoints" / "last.ckpt")
        said = name
    except (ValueError, OSError) as error:
        said = str(error)
    assert len(said.splitlines()) == 1, said
    assert name in said


FUZZ = settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(
    name=st.sampled_from(["run.json", "config.yaml", "checkpoints/last.ckpt"]),
    seed=st.integers(0, 2**32),
    count=st.integers(1, 8),
    shorter=st.booleans(),
)
def test_any_bytes(run, whole, name, seed, count, shorter):
    drawn = random.Random(seed)
    content = bytearray((whole.path / name).read_bytes())
    for _ in range(count):
        content[drawn.randrange(len(content))] = drawn.randrange(256)
    if shorter:
        del content[drawn.randrange(len(content)) :]
    fresh(run, whole)
    (run / name).write_bytes(content)
    assert_read_or_refused(run, name)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@FUZZ
@given(data=st.data(), value=ANYTHING)
def test_any_value_of_a_field(run, whole, data, value):
    name = data.draw(st.sampled_from(["run.json", "config.yaml"]))
    values = yaml.safe_load((whole.path / name).read_text())
    values[data.draw(st.sampled_from(sorted(values)))] = value
    fresh(run, whole)
    (run / name).write_text(json.dumps(values) if name == "run.json" else yaml.safe_dump(values))
    assert_read_or_refused(run, name)
