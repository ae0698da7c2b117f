"""Named data sets, each registered where its reader is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import TypeVar

from looksharp.data.split import Data
from looksharp.registry import Registry

__all__ = ["DATA_SETS", "SOURCES", "DataSet", "data_set", "data_source"]

Reader = TypeVar("Reader", bound=Callable[..., Data])

_GIVEN = ("source", "root", "seed")
"""Arguments of a reader that are not settings of the set: a set that is drawn takes the run's seed."""


@dataclass(frozen=True)
class DataSet:
    """A named set.

    Attributes:
        reader: function that reads or makes the set. Its arguments are the set's settings, except those that every set
            has.
        fixed: arguments that the name implies, such as the task.
    """

    reader: Callable[..., Data]
    fixed: Mapping[str, object] = field(default_factory=dict)

    @property
    def needs_root(self) -> bool:
        """Return True if the set is read from a folder that it does not know."""
        root = signature(self.reader).parameters.get("root")
        return root is not None and root.default is root.empty

    @property
    def without(self) -> tuple[str, ...]:
        """Return the names of arguments that are not settings of the set's own."""
        return (*_GIVEN, *self.fixed)

    def given(self, **values: object) -> dict[str, object]:
        """Return those of the values that the reader takes; None leaves its default."""
        known = signature(self.reader).parameters
        return {name: value for name, value in values.items() if name in known and value is not None}


DATA_SETS: Registry[DataSet] = Registry("data set", "looksharp.data.sets")
"""Every set by its name."""

SOURCES: Registry[DataSet] = Registry("data source", "looksharp.data.sets")
"""Readers of `PREFIX:SOURCE`, by prefix; the source is their first argument."""


def data_set(name: str, /, **fixed: object) -> Callable[[Reader], Reader]:
    """Return a decorator that registers a reader by the name of its set, some of its arguments fixed."""

    def register(reader: Reader) -> Reader:
        DATA_SETS.add(name, DataSet(reader, fixed))
        return reader

    return register


def data_source(prefix: str) -> Callable[[Reader], Reader]:
    """Return a decorator that registers a reader of `PREFIX:SOURCE`."""

    def register(reader: Reader) -> Reader:
        SOURCES.add(prefix, DataSet(reader))
        return reader

    return register
