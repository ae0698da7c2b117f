"""Train image classifiers that look at the right place, and show, measure and correct where they look."""

import ast
from importlib import import_module
from pathlib import Path
from typing import Any

# The stub beside this file lists the public names once, for type checkers and for what follows.
_HOMES = {
    public.name: node.module
    for node in ast.parse(Path(__file__).with_suffix(".pyi").read_text()).body
    if isinstance(node, ast.ImportFrom) and node.module is not None
    for public in node.names
}
"""Public name -> the module that it is written in."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: `import looksharp` alone loads not even torch."""
    if name == "__version__":
        return import_module("importlib.metadata").version("looksharp")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'looksharp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
