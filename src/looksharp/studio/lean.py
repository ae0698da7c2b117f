"""Spare the studio the HTTP clients that its server's library loads for uses that there are none of here.

NiceGUI imports socketio and engineio, which import requests, aiohttp and tornado wherever they are installed: clients
and drivers beside the server that is used. All are optional there; while NiceGUI is imported, they are missing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["lean_imports"]

_SPARED = ("aiohttp", "requests", "tornado", "websocket")


class _Missing(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in _SPARED:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@contextmanager
def lean_imports() -> Iterator[None]:
    """Within, libraries that are not loaded yet and that the studio needs nothing of are not found."""
    finder = _Missing()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
