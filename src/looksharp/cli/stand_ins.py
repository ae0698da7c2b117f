"""Read settings, registries and docstrings without the libraries behind them, as Sphinx's autodoc mocks them for docs.

A command's help needs signatures and docstrings alone, yet they stand in modules that import torch, which takes
seconds. Within `stand_ins` each such library is a class that is all of its own attributes, so that those modules load
in a moment: they can be read, and nothing in them can be run.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

__all__ = ["FOR_FLAGS", "LIBRARIES", "stand_ins"]

LIBRARIES = frozenset(
    "captum datasets lightning matplotlib onnx onnxruntime pyarrow safetensors scipy sklearn timm torch torchmetrics "
    "torchvision transformers webdataset".split()
)
"""Libraries that take long to load, and those that load them; no setting's type, bound or default is theirs."""

FOR_FLAGS = frozenset("annotated_types docstring_parser pydantic pydantic_core yaml".split())
"""Libraries that only flags need, so that names and summaries of commands can be read without them."""


@contextmanager
def stand_ins(libraries: Set[str] = LIBRARIES) -> Iterator[None]:
    """Within, import looksharp and plugins anew with stand-ins for libraries; afterwards, all is as it was."""
    aside = {name: sys.modules.pop(name) for name in list(sys.modules) if _package(name) == "looksharp"}
    before = set(sys.modules)
    finder = _Finder(libraries)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if _is_touched(name, sys.modules[name], libraries | {"looksharp"}):
                del sys.modules[name]
        sys.modules.update(aside)


class _StandIn(ABCMeta):
    """The type of stand-ins: a class, so that others may inherit from it, that has every attribute."""

    def __getattr__(cls, name: str) -> Any:
        # What inherits from a stand-in has its own attributes alone.
        if "_stands_in" not in vars(cls) or name.startswith("__"):
            raise AttributeError(name)
        made = _stand_in(f"{cls.__module__}.{name}")
        setattr(cls, name, made)
        return made

    def __iter__(cls) -> Iterator[Any]:
        return iter(())


def _stand_in(name: str) -> _StandIn:
    """Return a stand-in for a module, class or function."""
    made: _StandIn

    def call(cls: type, *given: object, **named: object) -> object:
        if cls is not made:
            return object.__new__(cls)
        return given[0] if len(given) == 1 and callable(given[0]) else made  # a decorator leaves what it decorates

    body = {"_stands_in": True, "__module__": name, "__new__": call, "__class_getitem__": lambda *_: made}
    made = _StandIn(name.rpartition(".")[2], (), body)
    return made


class _Finder(MetaPathFinder, Loader):
    """Imports a stand-in for each library that is installed, and for all that is below it."""

    def __init__(self, libraries: Set[str]) -> None:
        self._libraries = libraries

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if _package(name) not in self._libraries or (name in self._libraries and PathFinder.find_spec(name) is None):
            return None
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> Any:
        return _stand_in(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: there is nothing in it."""


def _is_touched(name: str, module: object, packages: Set[str]) -> bool:
    """Return True for a module of one of the packages, and for one that holds something of theirs, as a plugin's."""
    held = [getattr(each, "__module__", None) or getattr(each, "__name__", "") for each in vars(module).values()]
    return any(_package(str(each)) in packages for each in (name, *held))


def _package(name: str) -> str:
    return name.partition(".")[0]
