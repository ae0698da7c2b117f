"""Read flags from signatures: a command's flags are the settings of a class or the arguments of a function.

Lists are separated by commas (`--seeds 0,1,2`); a switch is `--flag`, and `--no_flag` turns it off; a flag
that is not given takes the default of the signature. Values are validated where they are used, not here, so that a
flag and a file give the same errors.
"""

from __future__ import annotations

import inspect
import types
from argparse import SUPPRESS, ArgumentParser, Namespace, _ActionsContainer
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import docstring_parser
import yaml

from looksharp.registry import Choices, Registry
from looksharp.settings import checked_arguments, settings_of

T = TypeVar("T")

__all__ = ["add_flags", "asked", "call", "given_values", "merged_values"]


def add_flags(
    parser: ArgumentParser,
    source: Callable[..., object],
    *,
    below: str = "",
    positional: Collection[str] = (),
    without: Collection[str] = (),
    unlisted: Collection[str] = (),
    title: str = "",
    defaults: bool = True,
) -> None:
    """Add a flag for each setting of a class or argument of a function, described by its docstring.

    Args:
        parser: parser of a command.
        source: the class or function.
        below: name before a dot in each flag: "icasc" makes `--icasc.theta`.
        positional: arguments that are given without a flag.
        without: arguments that are not flags.
        unlisted: arguments whose flags are read, but left out of the help.
        title: heading of the flags in the help.
        defaults: show the defaults of the signature; not where a flag that is not given takes another value.
    """
    described = docstring_parser.parse(_docs(source)).params
    # Of an argument and an attribute of one name the first, the argument, describes the flag.
    texts = {each.arg_name: each.description or "" for each in reversed(described)}
    group: _ActionsContainer = parser.add_argument_group(title) if title else parser
    for name, setting in settings_of(source, without).items():
        text = SUPPRESS if name in unlisted else " ".join(texts.get(name, "").split())
        flag = f"{below}.{name}" if below else name
        if name in positional:
            _add_positional(group, name, setting, text)
        else:
            _add_flag(group, flag, setting, text, defaults)


def asked(given: Sequence[str], *flags: str) -> dict[str, str | None]:
    """Return the values of some flags of a command before its parser is built, since other flags depend on them."""
    first = ArgumentParser(add_help=False, allow_abbrev=False)
    for flag in flags:
        first.add_argument(f"--{flag}", default=None)
    return vars(first.parse_known_args(list(given))[0])


def given_values(settings: Namespace, without: Collection[str] = ()) -> dict[str, Any]:
    """Return the flags that were given, those below a name as a mapping."""
    values: dict[str, object] = {}
    below: dict[str, dict[str, object]] = {}
    for flag, value in vars(settings).items():
        name, dot, setting = flag.partition(".")
        if name in without:
            continue
        if dot:
            below.setdefault(name, {})[setting] = value
        else:
            values[name] = value
    return values | below


def call(function: Callable[..., T], settings: Namespace, **more: object) -> T:
    """Call a function with the flags that were given for it, validated against its signature.

    Args:
        function: the function whose flags `add_flags` added.
        settings: the parsed flags.
        more: further arguments, which are not flags.

    Raises:
        SettingError: if a value is wrong; the message names the flag.
    """
    known = settings_of(function)
    values = {name: value for name, value in given_values(settings).items() if name in known}
    return function(**checked_arguments(function, values, ""), **more)


def _docs(source: Callable[..., object]) -> str:
    return "\n".join(filter(None, (inspect.getdoc(source),)))


def _add_positional(group: _ActionsContainer, name: str, setting: inspect.Parameter, text: str) -> None:
    many = _element(setting.annotation) is not None
    optional = setting.default is not setting.empty
    group.add_argument(
        name,
        nargs=("*" if optional else "+") if many else ("?" if optional else None),
        type=_reader(_element(setting.annotation) if many else setting.annotation),
        default=SUPPRESS,
        help=_escaped(text),
    )


def _add_flag(group: _ActionsContainer, flag: str, setting: inspect.Parameter, text: str, shows_default: bool) -> None:
    needed = setting.default is setting.empty
    silent = needed or not shows_default or setting.default in (None, "", ())
    shown = "" if silent else f" (default: {_shown(setting.default)})"
    help_text = SUPPRESS if text == SUPPRESS else _escaped(f"{text}{shown}")
    if _is_switch(setting.annotation):
        group.add_argument(f"--{flag}", action="store_true", dest=flag, default=SUPPRESS, help=help_text)
        where, _, last = flag.rpartition(".")
        off = f"{where}.no_{last}" if where else f"no_{last}"
        group.add_argument(f"--{off}", action="store_false", dest=flag, default=SUPPRESS, help=SUPPRESS)
        return
    element = _element(setting.annotation)
    read = _reader(setting.annotation) if element is None else _list_reader(_reader(element), setting.annotation)
    metavar = _metavar(setting.annotation, flag)
    short = (f"-{flag}",) if len(flag) == 1 else ()
    group.add_argument(
        *short, f"--{flag}", dest=flag, type=read, default=SUPPRESS, required=needed, metavar=metavar, help=help_text
    )


def _members(annotation: object) -> list[object]:
    """Return the members of a union without None, each without its metadata."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [each for inner in get_args(annotation) if inner is not type(None) for each in _members(inner)]
    return [annotation]


def _is_switch(annotation: object) -> bool:
    return _members(annotation) == [bool]


def _element(annotation: object) -> object:
    """Return the type of a list's elements; None if an annotation is not a list."""
    members = _members(annotation)
    for each in [] if str in members else members:
        if get_origin(each) in (list, tuple, Sequence, types.GenericAlias) or get_origin(each) is Sequence:
            return get_args(each)[0]
    return None


def _reader(annotation: object) -> Callable[[str], object]:
    """Return the function that turns text into a value: numbers where they are allowed, text elsewhere."""
    members = _members(annotation)
    if any(each in (int, float) for each in members):
        return _number
    return _structure if any(get_origin(each) in (dict, Mapping, list) for each in members) else str


def _number(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _structure(text: str) -> object:
    """Read a list or mapping as YAML writes it; other text stays text."""
    return yaml.safe_load(text) if text.startswith(("[", "{")) else text


def _list_reader(read: Callable[[str], object], annotation: object) -> Callable[[str], object]:
    def elements(text: str) -> object:
        if text.isdecimal() and int in _members(annotation):  # a number in the place of a list
            return int(text)
        if text.startswith("["):  # as YAML writes lists, for elements that hold commas
            return list(yaml.safe_load(text))
        return [read(each.strip()) for each in text.split(",") if each.strip()]

    return elements


def _metavar(annotation: object, flag: str) -> str:
    choices = [name for each in get_args(annotation) if isinstance(each, Registry | Choices) for name in sorted(each)]
    choices += [choice for each in _members(annotation) if get_origin(each) is Literal for choice in get_args(each)]
    name = flag.rpartition(".")[2].upper()
    if choices:
        numbers = any(each in (int, float) for each in _members(annotation))
        return "|".join([name, *map(str, choices)]) if numbers else "{" + ",".join(map(str, choices)) + "}"
    return f"{name},..." if _element(annotation) is not None else name


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def merged_values(file: Mapping[str, object], flags: Mapping[str, object]) -> dict[str, object]:
    """Merge flags over settings from elsewhere, mappings below a name included."""
    merged = dict(file)
    for name, value in flags.items():
        known = merged.get(name)
        merged[name] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return merged
