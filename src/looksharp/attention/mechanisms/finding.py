"""Mechanisms by their spelling: a name, and settings after a colon."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, get_origin

import yaml
from pydantic import AfterValidator

from looksharp.attention.mechanisms.base import (
    MECHANISMS,
    TRAINABLE,
    MapFunction,
    Mechanism,
    ModelMechanism,
    Spelled,
)
from looksharp.settings import SettingError, build, settings_of

__all__ = [
    "MechanismChoice",
    "check_asked",
    "find_mechanism",
    "find_trainable",
    "has_sign",
    "mechanism_name",
    "mechanism_summaries",
    "reads_layers",
]


def find_mechanism(mechanism: str | Mechanism) -> Mechanism:
    """Return the mechanism of that spelling, or the mechanism itself.

    Settings follow a colon, separated by commas: the first one alone (`rise:500`), or by their names
    (`rise:masks=500,cell=7`).

    Raises:
        ValueError: if no mechanism has that name (the message names a close one, or all), or a setting is wrong.

    Example:
        >>> find_mechanism("occlusion:window=4,stride=2")
        Occlusion(window=4, stride=2, fill=0.0)

    """
    if not isinstance(mechanism, str):
        return mechanism() if isinstance(mechanism, type) else mechanism
    name, colon, text = mechanism.partition(":")
    found = MECHANISMS.find(name)
    if isinstance(found, type):
        return build(found, _values(found, text, name), name)
    if colon:
        raise SettingError(f"mechanism {name!r} has no settings; got {text!r}")
    return found


def find_trainable(mechanism: str | Mechanism) -> MapFunction:
    """Return a mechanism that objectives can train on; see `find_mechanism`.

    Raises:
        ValueError: if the mechanism runs the model itself.
    """
    found = find_mechanism(mechanism)
    if isinstance(found, ModelMechanism):
        raise ValueError(
            f"mechanism {mechanism_name(found) or type(found).__name__!r} cannot be trained on, since it runs the "
            f"network itself; there are {', '.join(TRAINABLE)}"
        )
    return found


def mechanism_name(mechanism: str | Mechanism) -> str | None:
    """Spell a mechanism, with the settings that are not their defaults; None if it is not known by name.

    Example:
        >>> mechanism_name("occlusion:8"), mechanism_name(lambda features, gradients: features)
        ('occlusion:window=8', None)

    """
    found = find_mechanism(mechanism)
    if isinstance(found, Spelled):
        return found.spelling
    for name, thing in MECHANISMS.items():
        if thing is found:
            return name
        if thing is type(found):
            values = _changed(found)
            return f"{name}:{','.join(f'{key}={_text(value)}' for key, value in values.items())}" if values else name
    return None


def mechanism_summaries() -> dict[str, str]:
    """Return the first line of every mechanism's docstring, by name; those for which all classes are one are marked."""
    found = {}
    for name, thing in MECHANISMS.items():
        first = (inspect.getdoc(thing) or "").partition("\n")[0].rstrip(".:")
        same = isinstance(thing, type) and issubclass(thing, ModelMechanism) and not thing.uses_classes
        found[name] = f"{first}{' (the same for all classes)' if same else ''}"
    return found


def has_sign(mechanism: str | Mechanism) -> bool:
    """Return True if a mechanism's values below zero are evidence against a class."""
    found = find_mechanism(mechanism)
    return found.signed if isinstance(found, ModelMechanism) else True


def check_asked(mechanism: str | Mechanism, *, layers: bool = False, signed: bool = False) -> None:
    """Refuse an unknown mechanism, and layers or a sign that a mechanism does not have.

    Args:
        mechanism: its spelling, or itself.
        layers: True if layers were named.
        signed: True if maps are wanted before their ReLU.

    Raises:
        ValueError: as `find_mechanism`; if the mechanism takes no layer, or has no evidence against a class.
    """
    found = find_mechanism(mechanism)
    if isinstance(found, ModelMechanism):
        name = mechanism_name(found) or type(found).__name__
        if layers and not found.layered:
            raise ValueError(f"mechanism {name!r} reads no layer that could be chosen; leave out layer and layers")
        if signed and not found.signed:
            raise ValueError(f"mechanism {name!r} has no evidence against a class; leave out signed")


def reads_layers(mechanism: str | Mechanism) -> bool:
    """Return True if a mechanism reads maps at chosen layers; False if it makes one map whatever layers there are."""
    found = find_mechanism(mechanism)
    return found.layered if isinstance(found, ModelMechanism) else True


def _trainable(mechanism: str | MapFunction) -> str | MapFunction:
    find_trainable(mechanism)
    return mechanism


MechanismChoice = Annotated[str | MapFunction, AfterValidator(_trainable), TRAINABLE]
"""A mechanism as a setting of an objective: the spelling of one that trains, or a function."""


def _values(owner: Callable[..., object], text: str, name: str) -> dict[str, object]:
    """Read settings from text; names that are no setting go into the one that is a mapping, if there is one."""
    known = settings_of(owner)
    values: dict[str, Any] = {}
    for place, item in enumerate(filter(None, re.split(r",(?![^\[]*\])", text))):
        key, equals, value = item.partition("=")
        if not equals and place > 0:
            raise SettingError(
                f"{name}: settings after the first need names, as in {list(known)[-1]}=...; got {item!r}"
            )
        if not equals and not known:
            raise SettingError(f"mechanism {name!r} has no settings; got {item!r}")
        values[key.strip() if equals else next(iter(known))] = _value(value if equals else item)
    others = next((key for key, setting in known.items() if get_origin(setting.annotation) is dict), None)
    if others is not None:
        more = {key: values.pop(key) for key in list(values) if key not in known}
        values |= {others: more} if more else {}
    return values


def _value(text: str) -> object:
    """Read a number, a truth, a list or text."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return yaml.safe_load(text) if text.startswith("[") or text in ("true", "false", "null") else text.strip()


def _changed(mechanism: object) -> dict[str, object]:
    """Return the settings of an instance that are not their defaults, those in a mapping beside the others."""
    found: dict[str, object] = {}
    defaults = {name: setting.default for name, setting in settings_of(type(mechanism)).items()}
    for field in fields(mechanism) if is_dataclass(mechanism) else ():
        value = getattr(mechanism, field.name)
        if value != defaults[field.name]:
            found |= value if isinstance(value, Mapping) else {field.name: value}
    return found


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return {True: "true", False: "false", None: "null"}[value] if isinstance(value, bool | None) else str(value)
