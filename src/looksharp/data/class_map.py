"""Bring the classes of a data set to those of a model: read a map of names, and map targets and marks by it."""

from __future__ import annotations

import csv
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from looksharp.data.split import Data
from looksharp.data.tables import read_lines
from looksharp.files import read_text

__all__ = ["ClassMap", "listed_classes", "map_lines", "mapped", "read_class_map", "renamed", "same_name"]

ClassMap = Mapping[str, str | None]
"""Class of the data -> class of the model; None leaves the class's images out."""

_LEFT_OUT = ("", "-", "null")
_LONE = re.compile(r"(:[ \t]+)-[ \t]*$", re.MULTILINE)  # a value which YAML takes for an empty list
_HEADS = (("data_class", "model_class"), ("data", "model"))
_LINES = 20


def same_name(name: str) -> str:
    """Return what names that differ in case, spaces and punctuation alone have in common.

    Example:
        >>> same_name("Great white-shark") == same_name("great_white_shark")
        True

    """
    return "".join(character for character in name.casefold() if character.isalnum()) or name


def read_class_map(path: Path) -> dict[str, str | None]:
    """Read a map of classes from a CSV, JSON or YAML file: `data_class: model_class`, or `-` to leave a class out.

    Several classes of the data may become one of the model; one cannot become several.

    Raises:
        ValueError: if the file cannot be read, holds something else, or maps one class to several.
    """
    if not path.is_file():
        raise ValueError(f"class_map must be a .csv, .json or .yaml file; {path} does not exist")
    found: dict[str, str | None] = {}
    for name, value in _pairs(path):
        if not isinstance(value, str | None):
            got = f"{value!r:.60}"
            raise ValueError(f"class_map {path} maps {name!r} to several classes or none; give one class; got {got}")
        partner = None if value is None or value.strip() in _LEFT_OUT else value.strip()
        if name in found and found[name] != partner:
            raise ValueError(f"class_map {path} maps {name!r} to {found[name]!r} and to {partner!r}; give one class")
        found[name] = partner
    if not found:
        raise ValueError(f"class_map {path} is empty; write lines of data_class: model_class")
    return found


def _pairs(path: Path) -> Iterable[tuple[str, Any]]:
    """Return the names and values of a file; a name may come twice."""
    kind = path.suffix.lower()
    if kind not in (".csv", ".json", ".yaml", ".yml"):
        raise ValueError(f"class_map must be a .csv, .json or .yaml file; got {path}")
    if kind == ".csv":
        rows = [tuple(cell.strip() for cell in row) for row in csv.reader(read_lines(path, "a map of classes"))]
        wrong = next((row for row in rows if len(row) != 2), None)
        if wrong is not None:
            raise ValueError(
                f"class_map {path} must have two columns, data_class,model_class; got {','.join(wrong):.60}"
            )
        return [(name, value) for name, value in rows if (name.lower(), value.lower()) not in _HEADS]
    text = read_text(path)
    try:
        pairs = json.loads(text, object_pairs_hook=tuple) if kind == ".json" else None
        root = None if kind == ".json" else yaml.compose(_LONE.sub(r"\1 null", text), yaml.SafeLoader)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"class_map {path} cannot be read: {' '.join(str(error).split()):.120}") from None
    if kind == ".json":
        return [] if pairs == () else _named(pairs, path)
    if root is None:
        return []
    if not isinstance(root, yaml.MappingNode):
        raise ValueError(f"class_map {path} must hold data_class: model_class")
    return [(str(key.value), _scalar(value)) for key, value in root.value]


def _named(pairs: object, path: Path) -> list[tuple[str, Any]]:
    if not isinstance(pairs, tuple):
        raise ValueError(f"class_map {path} must hold {{data_class: model_class}}")
    return list(pairs)


def _scalar(node: yaml.Node) -> object:
    """Return the text of a value, None for null, and what else stands there as it is."""
    if not isinstance(node, yaml.ScalarNode):
        return node.value
    return None if node.tag == "tag:yaml.org,2002:null" else node.value


def renamed(data: Data, class_map: ClassMap) -> Data:
    """Return the data set with the classes that a map names called as it says; others keep their names.

    Names match without regard to case, spaces and punctuation.

    Raises:
        ValueError: if the map names a class that is nearly one of the data's, or leaves nothing.

    Example:
        >>> from looksharp.data.sets.synthetic import digits
        >>> data = renamed(digits(train=20, val=10, test=10), {"1": "0", **dict.fromkeys("456789")})
        >>> data.classes, data.sources["1"], len(data.splits["test"])
        (('0', '2', '3'), '0', 5)

    """
    known = {same_name(name): name for name in data.classes}
    given = {known.get(same_name(name), name): partner for name, partner in class_map.items()}
    rest = [name for name in data.classes if name not in given]
    for name in given:
        close = difflib.get_close_matches(name, rest, n=1, cutoff=0.8) if name not in data.classes else []
        if close:
            raise ValueError(
                f"class_map names {name!r}, which data {data.name} do not have; did you mean {close[0]!r}?"
            )
    partners = [given.get(name, name) for name in data.classes]
    classes = tuple(dict.fromkeys(name for name in partners if name is not None))
    if not classes:
        raise ValueError(f"class_map leaves out every class of data {data.name}")
    return mapped(data, partners, classes)


def mapped(data: Data, partners: Sequence[str | None], classes: Sequence[str]) -> Data:
    """Return the data set with the classes of a model.

    Args:
        data: the data set.
        partners: for each of its classes, one of `classes`, or None to leave out the images of that class alone.
        classes: the model's classes.

    Raises:
        ValueError: if a split has no image left, or its images cannot be picked.
    """
    places = {name: place for place, name in enumerate(classes)}
    table = torch.tensor([-1 if name is None else places[name] for name in partners])
    if data.classes == tuple(classes) and partners == list(classes):
        return data
    splits = {id(split): split.relabelled(table, len(classes)) for split in data.splits.values()}
    empty = next((name for name, split in data.splits.items() if not len(splits[id(split)])), None)
    if empty is not None:
        raise ValueError(f"class_map leaves no image in split {empty} of data {data.name}")
    now = dict(zip(data.classes, partners, strict=True))
    before = data.sources or {name: name for name in data.classes}
    sources = {name: None if partner is None else now[partner] for name, partner in before.items()}
    mapped_splits = {name: splits[id(split)] for name, split in data.splits.items()}
    return replace(data, classes=tuple(classes), splits=mapped_splits, sources=sources)


def map_lines(sources: ClassMap) -> list[str]:
    r"""Return a table of the data's classes and the model's, a line each, shortened past 20 lines.

    Example:
        >>> print("\n".join(map_lines({"n01440764": "tench", "noise": None})))
        n01440764  tench
        noise      - (its images are left out)

    """
    width = max(map(len, sources), default=0)
    lines = [
        f"{name.ljust(width)}  {'- (its images are left out)' if partner is None else partner}"
        for name, partner in sources.items()
    ]
    if len(lines) <= _LINES:
        return lines
    return [*lines[: _LINES - 1], f"… and {len(lines) - _LINES + 1} more"]


def listed_classes(names: Sequence[str]) -> str:
    """Return class names separated by commas, shortened past 20."""
    more = len(names) - _LINES
    return ", ".join(names) if more <= 0 else f"{', '.join(names[:_LINES])} and {more} more"
