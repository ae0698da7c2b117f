"""Settings that cannot be wrong: validated when they are made, whether from flags, YAML, a recipe or Python.

A settings class is a dataclass under `@settings`. The settings of a function, such as the reader of a data set or a
part of an objective, are its own signature; `checked_arguments` validates values against it. Both raise
`SettingError`, one line that names the setting, what came and what is allowed.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections import abc
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BeforeValidator, ConfigDict, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

__all__ = ["SettingError", "build", "checked_arguments", "near_miss", "resolved", "settings", "settings_of"]

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)


class SettingError(ValueError):
    """A setting's name, type or value is wrong; its text is one line."""


@dataclass_transform(frozen_default=True)
def settings(cls: type[T]) -> type[T]:
    """Make a frozen dataclass whose values are validated by their annotations.

    Types are strict, with three exceptions for values from files: text such as "1e-3" is a float, since YAML reads it
    as text; text is a path; a list is a tuple.

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
    validated = made.__init__

    def __init__(self: T, *values: object, **named: object) -> None:
        for name in named:
            if name not in hints:
                raise SettingError(near_miss(name, hints))
        try:
            validated(self, *values, **named)
        except ValidationError as error:
            raise SettingError(_line(error, hints)) from None

    __init__.__signature__ = inspect.signature(validated)  # type: ignore[attr-defined]
    __init__.__doc__ = validated.__doc__
    made.__init__ = __init__
    return made


def settings_of(function: Callable[..., object], without: Collection[str] = ()) -> dict[str, inspect.Parameter]:
    """Return the settings of a function or class: the parameters of its signature that files can hold.

    Args:
        function: a function or class.
        without: names of parameters that are not settings.

    Returns:
        Name -> parameter, its annotation resolved.
    """
    # A dataclass's own annotations, since each is resolved in the module of the class that declares it.
    typed = function if is_dataclass(function) or not inspect.isclass(function) else function.__init__
    hints = get_type_hints(typed, include_extras=True)
    found = inspect.signature(function).parameters
    made = _made_defaults(function)
    return {
        name: parameter.replace(annotation=hints.get(name, object), default=made.get(name, parameter.default))
        for name, parameter in found.items()
        if name not in without and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }


def _made_defaults(function: Callable[..., object]) -> dict[str, object]:
    """Return the defaults that a dataclass makes anew for each instance, which its signature does not show."""
    if not is_dataclass(function):
        return {}
    return {each.name: each.default_factory() for each in fields(function) if each.default_factory is not MISSING}


def checked_arguments(
    function: Callable[..., object], values: Mapping[str, object], where: str, without: Collection[str] = ()
) -> dict[str, object]:
    """Validate values against the signature of a function or class.

    Args:
        function: a function or class; its parameters are the settings.
        values: setting -> value, as a file holds it.
        where: owner of the settings; errors name it before the setting, as in `icasc.theta`.
        without: names of parameters that are not settings.

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
            raise SettingError(f"{_full(name, where)} is needed and is not given")
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = _adapter(known[name].annotation).validate_python(value)
        except ValidationError as error:
            raise SettingError(_line(error, {name: known[name].annotation}, _full(name, where))) from None
    return checked


def build(
    function: Callable[..., T], values: Mapping[str, object], where: str, without: Collection[str] = (), **more: object
) -> T:
    """Call a function or class with values that are validated as `checked_arguments` does.

    Args:
        function: a function or class; its parameters are the settings.
        values: setting -> value, as a file holds it.
        where: owner of the settings; errors name it before the setting.
        without: names of parameters that are not settings.
        more: further arguments, which are not validated.

    Raises:
        SettingError: if a name, type or value is wrong, or a setting without a default is missing.
    """
    return function(**checked_arguments(function, values, where, without), **more)


def resolved(
    function: Callable[..., object], values: Mapping[str, object], where: str, without: Collection[str] = ()
) -> dict[str, object]:
    """Validate values as `checked_arguments` does, and add the defaults of those that are missing.

    Example:
        >>> def reader(fold: int = 0, task: str = "age"): ...
        >>> resolved(reader, {"fold": 3}, "adience")
        {'fold': 3, 'task': 'age'}

    """
    given = checked_arguments(function, values, where, without)
    return {name: given.get(name, setting.default) for name, setting in settings_of(function, without).items()}


def near_miss(name: str, known: Collection[str], where: str = "") -> str:
    """Say that a setting does not exist, and name the close one, or all."""
    close = difflib.get_close_matches(name, list(known), n=1)
    if close:
        return f"{_full(name, where)!r} is not a setting; did you mean {_full(close[0], where)!r}?"
    return f"{_full(name, where)!r} is not a setting; there are {', '.join(known) or 'none'}"


def _full(name: str, where: str) -> str:
    return f"{where}.{name}" if where else name


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(_lenient(annotation), config=_CONFIG)


def _lenient(annotation: object) -> Any:
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
    if origin is abc.Sequence:
        return types.GenericAlias(list, (_lenient(inner[0]),))
    return annotation


def _number(value: object) -> object:
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


def _line(error: ValidationError, hints: Mapping[str, object], full: str = "") -> str:
    """Write one line: the setting, what is allowed, what came, and a close value where there is one."""
    # Of a union each member complains; a bound that is broken tells more than a type that does not fit.
    problems = error.errors(include_url=False)
    first = next((each for each in problems if each["type"] in _BROKEN_BOUNDS), problems[0])
    place = [str(part) for part in first["loc"]]
    if place and isinstance(first["loc"][0], int) and not full:  # given by position
        place[0] = list(hints)[first["loc"][0]]
    name = full or (place[0] if place else "")
    if first["type"] == "value_error":
        text = str(first["ctx"]["error"])
        return text if not name or text.startswith(name) else f"{name}: {text}"
    if first["type"] in ("missing", "missing_argument") and len(place) == 1:
        return f"{name} is needed and is not given"
    annotation = next(iter(hints.values())) if full else hints.get(name, object)
    came = first["input"]  # of a list, the element at fault
    got = f"{came:g}" if isinstance(came, float) else f"{came!r:.80}"
    if first["type"] in _BROKEN_BOUNDS and _bounds_of(annotation):
        return f"{name} must be {_bounds_of(annotation)}; got {got}"
    return f"{name} must be {_words(annotation)}; got {got}{_hint(came, annotation)}"


def _hint(came: Any, annotation: Any) -> str:
    """Return how to mend a value that is text where none is wanted, or nearly a choice."""
    if not isinstance(came, str):
        return ""
    close = difflib.get_close_matches(came, _choices(annotation), n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "; leave out the quotes" if re.fullmatch(r"[+-]?\d+(\.\d*)?(e[+-]?\d+)?|true|false", came) else ""


_BROKEN_BOUNDS = ("greater_than_equal", "greater_than", "less_than_equal", "less_than", "finite_number")


def _choices(annotation: object) -> list[str]:
    if get_origin(annotation) is Literal:
        return [each for each in get_args(annotation) if isinstance(each, str)]
    return [choice for inner in get_args(annotation) for choice in _choices(inner)]


_WORDS: dict[object, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
    dict: "settings, name: value",
    Callable: "a function",
}
_BOUNDS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}


def _words(annotation: object) -> str:
    """Say in words what an annotation allows."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = _bounds(inner[1:])
        return f"{_words(inner[0])} {'of ' if bounds.startswith('at') else ''}{bounds}".rstrip()
    if origin is Literal:
        return " or ".join([", ".join(map(repr, inner[:-1])), repr(inner[-1])] if len(inner) > 1 else [repr(inner[0])])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(each) for each in inner))
    if origin in (list, Sequence, abc.Sequence):
        return f"a list, each {_words(inner[0])}"
    if origin is tuple:
        return f"a list, each {_words(inner[0])}" if inner[-1] is ... else f"a list of {len(inner)}"
    return _WORDS.get(origin, getattr(annotation, "__name__", str(annotation)))


def _bounds(marks: Sequence[object]) -> str:
    """Say in words what bounds an annotation carries, such as "at least 0 and below 1"."""
    found = [(_BOUNDS[type(each)], each) for each in marks if type(each) in _BOUNDS]
    return " and ".join(f"{words} {_plain(getattr(each, name))}" for (name, words), each in found)


def _plain(bound: float) -> str:
    return f"{int(bound)}" if float(bound).is_integer() else f"{bound:g}"


def _bounds_of(annotation: object) -> str:
    """Return the bounds of the first number in an annotation that has any."""
    if get_origin(annotation) is Annotated and _bounds(get_args(annotation)[1:]):
        return _bounds(get_args(annotation)[1:])
    return next((found for inner in get_args(annotation) if (found := _bounds_of(inner))), "")
