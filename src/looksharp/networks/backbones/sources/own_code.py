"""Networks of a user's own code: `package.module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from torch import nn

from looksharp.networks.backbones.source import NETWORK_SOURCES, Asked, Source, Stated

__all__ = ["OwnCode", "code_from"]

_GIVEN = ("num_classes", "in_channels", "image_size")
"""Arguments that the function is given if its signature has them."""


class OwnCode(Source):
    """A function or class that returns an `nn.Module`, named by its module and a colon.

    It is called without arguments, but for `num_classes`, `in_channels` and `image_size` where its signature has them.
    """

    def build(self, name: str, asked: Asked) -> nn.Module:
        """Import the module and call the function."""
        function = _function(name.removeprefix("code:"))
        try:
            parameters = inspect.signature(function).parameters
        except (TypeError, ValueError):  # built in
            parameters = MappingProxyType({})
        values = {key: getattr(asked, key) for key in _GIVEN if key in parameters}
        values = {key: value for key, value in values.items() if value is not None}
        needed = [
            key
            for key, each in parameters.items()
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        lacking = next((key for key in needed if key not in values), None)
        if lacking is not None:
            mend = "say the number by --classes" if lacking == "num_classes" else "write a function that needs none"
            raise ValueError(f"backbone {name!r} needs an argument {lacking!r}, which is not known; {mend}")
        try:
            network = function(**values)
        except Exception as error:  # whatever the user's code may raise
            raise ValueError(f"backbone {name!r} could not be built: {_said(error)}") from error
        if not isinstance(network, nn.Module):
            raise ValueError(f"backbone {name!r} must return an nn.Module; got {type(network).__name__}")
        return network

    def stated(self, name: str) -> Stated:
        """Return no configuration; the module is imported, so that one that is not there is named first."""
        _function(name.removeprefix("code:"))
        return Stated()


@contextmanager
def code_from(folder: Path | None) -> Iterator[None]:
    """Put a folder first on Python's path while networks of one's own code are imported and built."""
    if folder is None:
        yield
        return
    place, before = str(folder), list(sys.path)
    sys.path.insert(0, place)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before


def _function(name: str) -> Callable[..., object]:
    module_name, _, attribute = name.partition(":")
    top = module_name.partition(".")[0]
    if not all(part.isidentifier() for part in (*module_name.split("."), *attribute.split("."))):
        known = ", ".join(f"{prefix}:NAME" for prefix in NETWORK_SOURCES if prefix != "code")
        raise ValueError(f"backbone {name!r} must be a timm name, {known} or package.module:function")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        raise ValueError(
            f"backbone {name!r}: there is no module {top!r} on Python's path; start in the folder that holds it, or "
            f"name that as code in the run's config.yaml"
        )
    _check_same(name, top)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # whatever the user's code may raise
        raise ValueError(f"backbone {name!r}: module {module_name} cannot be imported: {_said(error)}") from error
    found: object = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "built in")
        raise ValueError(f"backbone {name!r}: module {module_name} ({place}) has no function {attribute!r}")
    return found


def _check_same(name: str, top: str) -> None:
    """Refuse a module whose name is taken by another one, which this process has imported already.

    Raises:
        ValueError: naming both files.
    """
    loaded = getattr(sys.modules.get(top), "__file__", None)
    first = next((each for folder in sys.path for each in _files(Path(folder), top)), None)
    if loaded and first and Path(loaded).resolve() != first.resolve():
        raise ValueError(
            f"backbone {name!r}: a module {top!r} is imported already from {loaded}, not from {first}; "
            f"two runs whose code has one name need two processes, or other names"
        )


def _files(folder: Path, top: str) -> list[Path]:
    return [each for each in (folder / top / "__init__.py", folder / f"{top}.py") if each.is_file()]


def _said(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]:.160}" if lines else type(error).__name__


NETWORK_SOURCES.add("code", OwnCode())
