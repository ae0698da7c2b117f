"""Every setting, with every kind of wrong value and a misspelt name, from every place that settings come from.

What a value may be is decided here anew from the annotations, without the library that validates.
"""

import types
from collections import abc
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as bounds
import pytest
import yaml

from looksharp import cli
from looksharp.data.build import DataConfig
from looksharp.data.registry import DATA_SETS
from looksharp.networks import ARCHITECTURES
from looksharp.objectives.base import PARTS
from looksharp.settings import SettingError, checked_arguments, settings_of
from looksharp.training.settings import (
    BUILT_WITH,
    MarksConfig,
    NetworkConfig,
    OptimizationConfig,
    RunConfig,
    TrainingConfig,
)

SECTIONS = (DataConfig, NetworkConfig, MarksConfig, OptimizationConfig, TrainingConfig)
NAN, INF = float("nan"), float("inf")
VALUES = (
    *(None, True, False, 0, 1, 3, -1, 10**30, 0.5, 2.5, -0.5, 1.0, NAN, INF, "", "x", "1e-3", "nan", "true"),
    *([], [1], [-1], [2.5], ["x"], [None], [True], [[1]], [NAN], {}, {"x": 1}, {1: 2}, {"train": "x"}, [{"x": 1}]),
)
BOUNDS = {
    bounds.Ge: lambda value, bound: value >= bound.ge,
    bounds.Gt: lambda value, bound: value > bound.gt,
    bounds.Le: lambda value, bound: value <= bound.le,
    bounds.Lt: lambda value, bound: value < bound.lt,
}


def number(value):
    """The number that a value is; None for all else. YAML reads 1e-3 as text."""
    if type(value) is str:
        try:
            value = float(value)
        except ValueError:
            return None
    return value if type(value) in (int, float) and abs(value) < INF else None


def may_be(annotation, value):
    """Whether an annotation allows a value as YAML holds it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        held = number(value) if may_be(inner[0], value) else None
        limits = [each for each in inner[1:] if type(each) in BOUNDS]
        if not limits or value is None:
            return may_be(inner[0], value)
        return held is not None and all(BOUNDS[type(each)](held, each) for each in limits)
    if origin in (Union, types.UnionType):
        return any(may_be(each, value) for each in inner)
    if origin is Literal:
        return any(type(each) is type(value) and each == value for each in inner)
    if origin in (list, abc.Sequence):
        return type(value) is list and all(may_be(inner[0], each) for each in value)
    if origin is tuple:
        kinds = [inner[0]] * len(value) if type(value) is list and inner[-1] is ... else inner
        return type(value) is list and len(value) == len(kinds) and all(map(may_be, kinds, value))
    if origin in (dict, abc.Mapping):
        return type(value) is dict and all(may_be(inner[0], k) and may_be(inner[1], v) for k, v in value.items())
    if annotation is float:
        return number(value) is not None
    if annotation in (int, bool, str):
        return type(value) is annotation
    if annotation is Path:
        return type(value) is str
    return annotation is Any or (annotation is type(None) and value is None)


FLAT = [
    (name, hint)
    for section in SECTIONS
    for name, hint in get_type_hints(section, include_extras=True).items()
    if name != "settings"
]
BELOW = [
    *((f"part {name}", part, ()) for name, part in PARTS.items()),
    *((f"set {name}", made.reader, made.without) for name, made in DATA_SETS.items()),
    *((f"architecture {name}", built, BUILT_WITH) for name, built in ARCHITECTURES.items()),
]
SETTINGS = [(thing, source, without, name) for thing, source, without in BELOW for name in settings_of(source, without)]


def said(make, *given, **named):
    """The one line in which settings are refused; None where they are not."""
    try:
        make(*given, **named)
    except SettingError as error:
        text = str(error)
    else:
        return None
    assert text == text.strip()
    assert len(text.splitlines()) == 1, text
    assert len(text) < 1500
    return text


def flat(thing, name, value):
    """Settings with one below the name of a part, a data set or an architecture."""
    kind, _, owner = thing.partition(" ")
    given = {"set": {"data": owner}, "architecture": {"architecture": owner}}.get(kind)
    if given is None:
        given = {"objective": owner if PARTS[owner].classifies else f"classification+{owner}"}
    return given | {"marks": "data", "cues": "cues.json", owner: {name: value}}


def test_the_fuzz_sees_all():
    assert len(FLAT) > 35
    assert len(SETTINGS) > 100


@pytest.mark.parametrize(("name", "hint"), FLAT, ids=[name for name, _ in FLAT])
def test_wrong_values_of_a_setting(name, hint):
    section = next(each for each in SECTIONS if name in get_type_hints(each))
    wrong = [value for value in VALUES if not may_be(hint, value)]
    assert wrong
    for value in wrong:
        for text in (said(RunConfig.from_flat, {name: value}), said(section, **{name: value})):
            assert text is not None, (name, value)
            assert name in text, (name, value, text)
    for value in VALUES:  # what may be, may still contradict another setting
        said(RunConfig.from_flat, {name: value})


@pytest.mark.parametrize(("thing", "source", "without", "name"), SETTINGS, ids=[f"{s[0]} {s[3]}" for s in SETTINGS])
def test_wrong_values_below_a_name(thing, source, without, name):
    hint = settings_of(source, without)[name].annotation
    wrong = [value for value in VALUES if not may_be(hint, value)]
    assert wrong
    owner = thing.partition(" ")[2]
    for value in wrong:
        text = said(RunConfig.from_flat, flat(thing, name, value))
        assert text is not None, (thing, name, value)
        assert name in text, (thing, name, value, text)
        assert owner in text
        assert said(checked_arguments, source, {name: value}, owner, without) is not None
    for value in VALUES:
        said(RunConfig.from_flat, flat(thing, name, value))


def test_misspelt_names():
    for name, _ in FLAT:
        for wrong in (name + "s", name[:-1] + "_" + name[-1], name.upper()):
            if wrong in dict(FLAT):
                continue
            text = said(RunConfig.from_flat, {wrong: 1})
            assert text.startswith(f"{wrong!r} is not a setting; "), text
        assert f"did you mean {name!r}?" in said(RunConfig.from_flat, {name + "_": 1})
    for thing, source, without, name in SETTINGS:
        text = said(RunConfig.from_flat, flat(thing, name + "_", 1))
        owner = thing.partition(" ")[2]
        assert f"'{owner}.{name}_' is not a setting; did you mean '{owner}." in text, text
        assert settings_of(source, without)


@pytest.mark.parametrize("value", [value for value in VALUES if type(value) is not str], ids=repr)
def test_names_and_objectives_that_are_none(value):
    assert said(RunConfig.from_flat, {value if type(value) in (int, float, bool, type(None)) else str(value): 1})
    for name in ("objective", "data", "architecture", "backbone"):
        assert said(RunConfig.from_flat, {name: value}), (name, value)


@pytest.mark.parametrize(
    "value", ["", "+", "icasc+", ":", "icasc:", "icasc:x", "icasc:nan", "icasc:-1", "icasc+icasc", "gain_ext"]
)
def test_objectives_that_are_not_there(value):
    assert said(RunConfig.from_flat, {"objective": value})


@pytest.mark.parametrize(("name", "hint"), FLAT, ids=[name for name, _ in FLAT])
def test_a_configuration_file_through_the_command(name, hint, tmp_path, capsys):
    wrong = [value for value in VALUES if not may_be(hint, value)]
    for given in [*({name: value} for value in wrong[::6]), {name + "_": 1}]:
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(given))
        status = cli.main(["train", "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "run")])
        lines = capsys.readouterr().err.splitlines()
        assert (status, len(lines)) == (2, 1), (given, lines)
        assert lines[0].startswith("looksharp: error: ")
        assert name in lines[0]
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("name", "hint"), FLAT, ids=[name for name, _ in FLAT])
def test_a_flag(name, hint, tmp_path, capsys):
    texts = [text for text in ("x", "", "nan", "-0.5", "2.5,x") if not may_be(hint, text) and not listed(hint, text)]
    for given in [*([f"--{name}={text}"] for text in texts), [f"--{name}_", "1"]]:
        status = cli.main(["train", *given, "--out", str(tmp_path / "run")])
        lines = capsys.readouterr().err.splitlines()
        assert (status, len(lines)) == (2, 1), (given, lines)
        assert name in lines[0]
        assert not (tmp_path / "run").exists()


def listed(hint, text):
    """Whether a flag's text is a list that is allowed: elements are separated by commas."""
    return may_be(hint, [number(each) if number(each) is not None else each for each in text.split(",") if each])
