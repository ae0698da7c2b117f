"""Spare a command what it does not need while libraries load: garbage collection, and libraries of torchmetrics' own.

Loading torch, torchvision and Lightning makes objects that stay, and Python looks through them for garbage again and
again: a seventh of the time. Lightning imports torchmetrics, which imports transformers for its text metrics and
matplotlib for its plots wherever they are installed: a third of the time until training starts. Both are optional to
it; where it is told that they are missing, those metrics and plots say so, in this process alone. It loads all of
scipy's signal processing to give it back one name that it lost, which here waits until somebody asks for another.
"""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__ = ["spare_loading", "without_collecting"]

_FLAGS_OF = "torchmetrics.utilities.imports"
_SPARED = ("_TRANSFORMERS_", "_MATPLOTLIB_")  # how its flags begin
_LATER, _GIVEN_BACK = "scipy.signal", "hamming"


def spare_loading() -> None:
    """Tell torchmetrics, once it is imported, that two libraries are missing; load `scipy.signal` on use."""
    if "torchmetrics" not in sys.modules and not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


@contextmanager
def without_collecting() -> Iterator[None]:
    """Within, collect no garbage, and never look through what was made there; nothing where torch is loaded already."""
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        atexit.register(gc.unfreeze)  # libraries count what is left of theirs at the end, and complain
        gc.enable()


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, path) if name in (_FLAGS_OF, _LATER) else None
        if found is not None and found.loader is not None:
            found.loader = _Flags(found.loader) if name == _FLAGS_OF else _Later(found.loader)
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


class _Later(Loader):
    """Loads the module once something else of it is asked for than the name that torchmetrics gives back."""

    def __init__(self, own: Loader) -> None:
        self._own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._own.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        def load(name: str) -> object:
            if name.startswith("__"):  # asked by the import system
                raise AttributeError(name)
            del vars(module)["__getattr__"], vars(module)[_GIVEN_BACK]
            self._own.exec_module(module)
            return getattr(module, name)

        vars(module).update({"__getattr__": load, _GIVEN_BACK: None})
