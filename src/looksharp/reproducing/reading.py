"""Read the recipes that ship with the library: YAML files that inherit from one another."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import Any

from looksharp.files import read_mapping
from looksharp.reproducing.recipe import Recipe, merged, parse_recipe

__all__ = ["RECIPES", "read_recipe", "recipe_names"]

RECIPES = Path(__file__).parent.parent / "recipes"
"""PAPER/TABLE.yaml; a file without rows is there to be inherited from."""


def recipe_names(folder: str | Path = RECIPES) -> tuple[str, ...]:
    """Return the names of all recipes that have rows, in order."""
    folder = Path(folder)
    names = sorted(file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))
    return tuple(name for name in names if "rows" in _values(name, folder))


def read_recipe(name: str, folder: str | Path = RECIPES) -> Recipe:
    """Read a recipe by its name, such as "icasc/table4".

    A file says `inherits: NAME` to start from another one: mappings (settings, rows, measures) are merged, null
    removes what was inherited, anything else replaces it.

    Raises:
        ValueError: if there is no such recipe, a file is no YAML mapping, recipes inherit in a circle, or a part is
            missing, unknown or of the wrong kind.
    """
    if name not in (known := recipe_names(folder)):
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(known)}"
        raise ValueError(f"recipe {name!r} is not known; {hint}")
    return parse_recipe(name, _values(name, Path(folder)))


@lru_cache(maxsize=512)
def _file(path: Path) -> dict[str, Any]:
    return read_mapping(path, "a recipe")


def _values(name: str, folder: Path, heirs: tuple[str, ...] = ()) -> dict[str, Any]:
    if name in heirs:
        raise ValueError(f"recipe {heirs[0]} inherits in a circle: {' from '.join((*heirs, name))}")
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise ValueError(f"recipe {heirs[-1] if heirs else name} inherits {name!r}, but there is no {path}")
    own = dict(_file(path))
    parent = own.pop("inherits", None)
    return own if parent is None else merged(_values(str(parent), folder, (*heirs, name)), own)
