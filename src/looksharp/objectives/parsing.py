"""Read objectives from settings: a list of parts, each a name with settings of its own, or one short line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from looksharp.objectives.base import PARTS, Objective, Part, Sum
from looksharp.settings import SettingError, checked_arguments, settings_of

__all__ = ["PartSettings", "build_objective", "parse_objective"]


@dataclass(frozen=True)
class PartSettings:
    """One part of an objective.

    Attributes:
        name: name in `PARTS`.
        settings: the part's settings that are given; the others take their defaults.
    """

    name: str
    settings: Mapping[str, object] = field(default_factory=dict)

    def build(self) -> Part:
        """Make the part.

        Raises:
            SettingError: if a setting is wrong.
        """
        make: Callable[..., Part] = _found(self.name)
        values = checked_arguments(make, self.settings, self.name)
        try:
            return make(**values)
        except ValueError as error:
            raise SettingError(f"{self.name}.{error}") from None


def parse_objective(value: object) -> tuple[PartSettings, ...]:
    """Read an objective as flags and files write it.

    Args:
        value: names joined by "+", where `:WEIGHT` after a name overrides its default weight, such as
            "icasc+agreement:0.3"; or a list whose items are such text, or mappings of names to settings.

    Returns:
        The parts, their names and settings checked.

    Raises:
        SettingError: if a name or setting is wrong, or a part is named twice.

    Example:
        >>> parse_objective("classification+agreement:0.3")
        (PartSettings(name='classification', settings={}), PartSettings(name='agreement', settings={'weight': 0.3}))
        >>> parse_objective([{"icasc": {"theta": 0.7}}, "energy"]) == parse_objective("icasc+energy")
        False
        >>> parse_objective("icasc+agrement")
        Traceback (most recent call last):
        looksharp.settings.SettingError: objective part 'agrement' is not known; did you mean 'agreement'?

    """
    if isinstance(value, str | Mapping):
        value = [value]
    if not isinstance(value, Sequence):
        raise SettingError(
            f"objective must be parts, such as icasc+agreement:0.3, or a list of them; got {value!r:.80}"
        )
    parts = [part for item in value for part in _item(item)]
    names = [part.name for part in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise SettingError(f"objective names {twice} twice; got {'+'.join(names)}")
    return tuple(parts)


def build_objective(parts: Sequence[PartSettings]) -> Objective:
    """Make the objective of some parts.

    Raises:
        SettingError: if a setting is wrong, or no part classifies or segments, or two classify.
    """
    built = [part.build() for part in parts]
    if not any(part.classifies or part.segments for part in built):
        classifying = ", ".join(name for name, part in PARTS.items() if part.classifies)
        given = "+".join(part.name for part in parts)
        raise SettingError(f"objective {given!r} does not classify; add one of {classifying}")
    try:
        return Sum(*built)
    except TypeError as error:
        raise SettingError(str(error)) from None


def _item(item: object) -> list[PartSettings]:
    match item:
        case str():
            return [_short(text.strip()) for text in item.split("+")]
        case Mapping():
            return [_checked(str(name), settings or {}) for name, settings in item.items()]
    raise SettingError(f"a part of objective must be its name, or name: settings; got {item!r:.80}")


def _short(text: str) -> PartSettings:
    name, colon, given = (piece.strip() for piece in text.partition(":"))
    part = _found(name)
    if not colon:
        return PartSettings(name)
    if "weight" not in settings_of(part):
        raise SettingError(f"objective part {name} takes no weight; got {text!r}")
    try:
        weight = float(given)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise SettingError(f"{name}.weight must be a number of at least 0; got {given!r}")
    return PartSettings(name, {"weight": weight})


def _checked(name: str, settings: Mapping[str, object]) -> PartSettings:
    return PartSettings(name, checked_arguments(_found(name), settings, name))


def _found(name: str) -> type[Part]:
    try:
        return PARTS.find(name)
    except ValueError as error:
        raise SettingError(str(error)) from None
