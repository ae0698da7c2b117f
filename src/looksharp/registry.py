"""Registries: things of one kind by name, each registered in the file where it is written."""

from __future__ import annotations

import difflib
import pkgutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Generic, TypeVar

__all__ = ["PLUGINS", "Choices", "Registry"]

T = TypeVar("T")

PLUGINS = "looksharp.plugins"
"""The entry-point group of other people's packages; each entry names a module, whose import registers things."""


class Registry(Mapping[str, T], Generic[T]):
    """Things of one kind by name, in the order in which files and plugins register them.

    A thing is registered by a decorator where it is written. The first look-up imports every module in and below
    `packages` and every plugin, so that a new file needs no entry anywhere else.

    Args:
        kind: name of an entry in errors, such as "data set".
        packages: packages whose modules register things when they are imported.

    Example:
        >>> colours = Registry[str]("colour")
        >>> colours.add("red", "#f00")
        '#f00'
        >>> colours.find("rde")
        Traceback (most recent call last):
        ValueError: colour 'rde' is not known; did you mean 'red'?

    """

    def __init__(self, kind: str, *packages: str) -> None:
        self.kind, self._packages = kind, packages
        self._things: dict[str, T] = {}
        self._scanned = not packages

    def add(self, name: str, thing: T) -> T:
        """Register a thing and return it.

        Raises:
            ValueError: if another thing has that name.
        """
        known = self._things.get(name)
        if known is not None and not _same(known, thing):
            raise ValueError(f"{self.kind} {name!r} is registered twice; choose another name")
        self._things[name] = thing
        return thing

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers what it decorates by `name`."""
        return lambda thing: self.add(name, thing)

    def find(self, name: str) -> T:
        """Return the thing of that name.

        Raises:
            ValueError: if there is none; the message names a close one, or all.
        """
        if name in self:
            return self[name]
        close = difflib.get_close_matches(name, list(self), n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(self))}"
        raise ValueError(f"{self.kind} {name!r} is not known; {hint}")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __getitem__(self, name: str) -> T:
        self._scan()
        return self._things[name]

    def __iter__(self) -> Iterator[str]:
        self._scan()
        return iter(self._things)

    def __len__(self) -> int:
        self._scan()
        return len(self._things)

    def _scan(self) -> None:
        if self._scanned:
            return
        self._scanned = True  # first, because the modules may look things up while they are imported
        try:
            for name in self._packages:
                for module in pkgutil.walk_packages(import_module(name).__path__, f"{name}."):
                    import_module(module.name)
        except BaseException:
            self._scanned = False
            raise
        load_plugins()


class Choices(Collection[str]):
    """Names of those things in a registry that pass a test, looked up when they are read.

    Args:
        registry: the registry.
        fits: True for a thing that may be chosen.

    Example:
        >>> sizes = Registry[int]("size")
        >>> _ = sizes.add("small", 1), sizes.add("large", 9)
        >>> list(Choices(sizes, lambda size: size > 5))
        ['large']

    """

    def __init__(self, registry: Registry[T], fits: Callable[[T], object]) -> None:
        self._names = lambda: [name for name, thing in registry.items() if fits(thing)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __contains__(self, name: object) -> bool:
        return name in self._names()


_LOADED: set[str] = set()


def load_plugins() -> None:
    """Import the modules that installed packages name under `PLUGINS`, each once; one that fails is named and left."""
    for plugin in entry_points(group=PLUGINS):
        if plugin.value in _LOADED:
            continue
        _LOADED.add(plugin.value)
        try:
            plugin.load()
        except Exception as error:
            print(f"looksharp: warning: plugin {plugin.name} ({plugin.value}) failed: {error}", file=sys.stderr)


def _same(known: object, thing: object) -> bool:
    """Return True if a thing is registered again by the same code, as when its module is reloaded."""
    places = [(getattr(each, "__module__", None), getattr(each, "__qualname__", None)) for each in (known, thing)]
    return known is thing or (None not in places[0] and places[0] == places[1])
