"""Settings that cannot be wrong: validated when they are made, whether from flags, YAML, a recipe or Python.

A settings class is a dataclass under `@settings`. The settings of a function, such as the reader of a data set or a
part of an objective, are its own signature; `checked_arguments` validates values against it. Both raise
`SettingError`, one line that names the setting, what came and what is allowed.
"""

from __future__ import annotations

import difflib
import inspect
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

__all__ = ["SettingError", "checked_arguments", "near_miss", "settings", "settings_of"]

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class SettingError(ValueError):
    """A setting's name, type or value is wrong; its text is one line."""


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a frozen dataclass whose values are validated by their annotations.

    Types are strict, with three exceptions for what files hold: text that reads as a number is one for a float, since
    YAML reads 1e-3 as text; text is a path; a list is a tuple.

    Raises:
        SettingError: when an instance is made of a wrong name, type or value.

    Example:
        >>> @settings
        ... class Pace:
        ...     epochs: int = 10
        ...     lr: float = 0.1
        >>> Pace(lr="1e-3")
        Pace(epochs=10, lr=0.001)
        >>> Pace(epochs=2.5)
        Traceback (most recent call last):
        looksharp.settings.SettingError: epochs must be a whole number; got 2.5
        >>> Pace(epoch=2)
        Traceback (most recent call last):
        looksharp.settings.SettingError: 'epoch' is not a setting; did you mean 'epochs'?

    """
    hints = get_type_hints(cls, include_extras=True, localns={cls.__name__: cls})
    cls.__annotations__ = {name: _lenient(hints[name]) for name in cls.__annotations__}
    made: Any = pydantic_dataclass(frozen=True, config=_CONFIG)(cls)
    build = made.__init__

    def __init__(self: T, *values: Any, **named: Any) -> None:
        for name in named:
            if name not in hints:
                raise SettingError(near_miss(name, hints))
        try:
            build(self, *values, **named)
        except ValidationError as error:
            raise SettingError(_line(error, hints)) from None

    __init__.__signature__ = inspect.signature(build)  # type: ignore[attr-defined]
    __init__.__doc__ = build.__doc__
    made.__init__ = __init__
    return made


def settings_of(function: Callable[..., Any], without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Return the settings of a function or class: the parameters of its signature that files can hold.

    Args:
        function: a function or class.
        without: names of parameters that are no settings.

    Returns:
        Name -> parameter, its annotation resolved.
    """
    # A dataclass's own annotations, since each is resolved in the module of the class that declares it.
    typed = function if is_dataclass(function) or not inspect.isclass(function) else function.__init__
    hints = get_type_hints(typed, include_extras=True)
    found = inspect.signature(function).parameters
    return {
        name: parameter.replace(annotation=hints.get(name, Any))
        for name, parameter in found.items()
        if name not in without and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def checked_arguments(
    function: Callable[..., Any], values: Mapping[str, Any], where: str, without: Collection[str] = ()
) -> dict[str, Any]:
    """Validate values against the signature of a function or class.

    Args:
        function: a function or class; its parameters are the settings.
        values: setting -> value, as a file holds it.
        where: what the settings belong to; errors name it before the setting, as in `icasc.theta`.
        without: names of parameters that are no settings.

    Returns:
        The values given, converted; pass them on as keyword arguments.

    Raises:
        SettingError: if a name, type or value is wrong, or a setting without a default is missing.

    Example:
        >>> def reader(fold: int = 0, task: Literal["age", "gender"] = "age"): ...
        >>> checked_arguments(reader, {"fold": 3}, "adience")
        {'fold': 3}
        >>> checked_arguments(reader, {"task": "gendre"}, "adience")
        Traceback (most recent call last):
        looksharp.settings.SettingError: adience.task must be 'age' or 'gender'; got 'gendre'; did you mean 'gender'?

    """
    known = settings_of(function, without)
    if not isinstance(values, Mapping):
        raise SettingError(f"{where} must be settings, name: value; got {values!r:.60}")
    for name in values:
        if name not in known:
            raise SettingError(near_miss(str(name), known, where))
    for name, parameter in known.items():
        if parameter.default is parameter.empty and name not in values:
            raise SettingError(f"{where}.{name} is needed and is not given")
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = _adapter(known[name].annotation).validate_python(value)
        except ValidationError as error:
            raise SettingError(_line(error, {name: known[name].annotation}, f"{where}.{name}")) from None
    return checked


def near_miss(name: str, known: Collection[str], where: str = "") -> str:
    """Say that a setting does not exist, and name the close one, or all."""
    close = difflib.get_close_matches(name, list(known), n=1)
    full = f"{where}.{name}" if where else name
    if close:
        return f"{full!r} is not a setting; did you mean {f'{where}.{close[0]}' if where else close[0]!r}?"
    return f"{full!r} is not a setting; there are {', '.join(known) or 'none'}"


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_lenient(annotation), config=_CONFIG)


def _lenient(annotation: Any) -> Any:
    """Soften strict types where files need it: text for floats, text for paths, lists for tuples."""
    if annotation is float:
        return Annotated[float, BeforeValidator(_number)]
    if annotation is Path:
        return Annotated[Path, Strict(False)]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return Annotated[(_lenient(inner[0]), *inner[1:])]
    if origin in (Union, types.UnionType):
        return Union[tuple(_lenient(each) for each in inner)]  # noqa: UP007 (made of a tuple)
    if origin is tuple:
        parts = tuple(each if each is ... else _lenient(each) for each in inner)
        return Annotated[types.GenericAlias(tuple, parts), Strict(False)]
    if origin in (list, dict):
        return types.GenericAlias(origin, tuple(_lenient(each) for each in inner))
    if origin is Sequence:
        return types.GenericAlias(list, (_lenient(inner[0]),))
    return annotation


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _line(error: ValidationError, hints: Mapping[str, Any], full: str = "") -> str:
    """One line: the setting, what is allowed, what came, and a close value where there is one."""
    first = error.errors(include_url=False)[0]
    place = [str(part) for part in first["loc"]]
    name = place[0] if place and not full else ""
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"])
        return text if name or not full or text.startswith(full.split(".")[-1]) is False else f"{full}: {text}"
    came = first["input"]
    if first["type"] in ("missing", "missing_argument"):
        return f"{name} is needed and is not given"
    annotation = hints.get(name) if not full else next(iter(hints.values()))
    allowed = _words(annotation)
    close = difflib.get_close_matches(came, _choices(annotation), n=1) if isinstance(came, str) else []
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{full or name} must be {allowed}; got {came!r:.80}{hint}"


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [each for each in get_args(annotation) if isinstance(each, str)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
_WORDS |= {type(None): "null", dict: "settings, name: value", Callable: "a function"}


def _words(annotation: Any) -> str:
    """Say in words what an annotation allows."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [str(each) for each in inner[1:] if type(each).__module__ == "annotated_types"]
        return " ".join([_words(inner[0]), *bounds])
    if origin is Literal:
        return " or ".join([", ".join(map(repr, inner[:-1])), repr(inner[-1])] if len(inner) > 1 else [repr(inner[0])])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(each) for each in inner))
    if origin in (list, Sequence):
        return f"a list, each {_words(inner[0])}"
    if origin is tuple:
        return f"a list of {len([each for each in inner if each is not ...])}"
    return _WORDS.get(origin, getattr(annotation, "__name__", str(annotation)))
