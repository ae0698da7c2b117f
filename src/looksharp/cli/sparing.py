"""Spare a command the libraries that torchmetrics loads for metrics that looksharp does not have.

Lightning imports torchmetrics, which imports transformers for its text metrics and matplotlib for its plots wherever
they are installed: a third of the time until training starts. Both are optional to it; where it is told that they are
missing, those metrics and plots say so, in this process alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__ = ["spare_loading"]

_FLAGS_OF = "torchmetrics.utilities.imports"
_SPARED = ("_TRANSFORMERS_", "_MATPLOTLIB_")  # how its flags begin


def spare_loading() -> None:
    """Tell torchmetrics, once it is imported, that transformers and matplotlib are missing."""
    if "torchmetrics" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path) if name == _FLAGS_OF else None
        if found is not None and found.loader is not None:
            found.loader = _Flags(found.loader)
        return found


class _Flags(Loader):
    """Loads the module as its own loader does, and turns flags off."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._own.exec_module(module)
        for name in list(vars(module)):
            if name.startswith(_SPARED):
                setattr(module, name, False)
