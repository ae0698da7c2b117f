"""Write the pages of the reference when the site is built: public names by room, and commands with their flags."""

from __future__ import annotations

import ast
import inspect
from argparse import ArgumentParser
from collections import defaultdict
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

import looksharp
from looksharp.cli.command import COMMANDS
from looksharp.cli.parser import build_parser


def rooms() -> dict[str, dict[str, str]]:
    """List the public names of each room, each with the module that it is written in, in the order of the stub."""
    stub = Path(looksharp.__file__).with_suffix(".pyi")
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for node in ast.parse(stub.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            found[node.module.split(".")[1]] |= {public.name: node.module for public in node.names}
    return found


def entry(name: str, module: str) -> str:
    """Write the directive of one public name; a table's docstring stands only where the table is written."""
    public = getattr(looksharp, name)
    if isinstance(public, type):
        return f".. autoclass:: looksharp.{name}\n   :members:\n"
    if callable(public):
        return f".. autofunction:: looksharp.{name}\n"
    return f".. autodata:: {module}.{name}\n   :no-value:\n"


def room_page(room: str, names: dict[str, str]) -> str:
    """Write one room's page: its docstring, then every public name in full."""
    summary = (import_module(f"looksharp.{room}").__doc__ or "").strip()
    return "\n".join([room, "=" * len(room), "", summary, "", *(entry(*each) for each in names.items())])


def command_page(name: str) -> str:
    """Write one command's page; sphinx-argparse draws its flags from the parser itself."""
    lines = [name, "=" * len(name), "", ".. argparse::", "   :module: reference", f"   :func: parser_of_{name}"]
    return "\n".join([*lines, f"   :prog: looksharp {name}", "   :nodefault:", ""])


def __getattr__(name: str) -> object:
    """Give `parser_of_NAME`, which builds the parser of that command alone."""
    if not name.startswith("parser_of_"):
        raise AttributeError(name)

    def build() -> ArgumentParser:
        command = name.removeprefix("parser_of_")
        parser, _ = build_parser([command])
        (action,) = (each for each in parser._actions if each.dest == "command")
        return action.choices[command]

    return build


def write_pages(app: Sphinx) -> None:
    """Write all pages below reference/, and the lists that name them."""
    folder = Path(app.srcdir) / "reference"
    pages = {f"python/{room}": room_page(room, names) for room, names in rooms().items()}
    pages |= {f"commands/{name}": command_page(name) for name in COMMANDS}
    for path, text in pages.items():
        page = folder / f"{path}.rst"
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.exists() or page.read_text() != text:
            page.write_text(text)


def strip_constraints(app: Sphinx, written: Any, bound_method: bool) -> None:
    """Show `int` where a setting is written as an annotated int: its bounds stand in its sentence."""
    function = written.__init__ if isinstance(written, type) else written
    with suppress(NameError, TypeError, AttributeError):  # a name that is imported for type checkers alone
        function.__annotations__ = get_type_hints(function)


def show_settings(app: Sphinx, what: str, name: str, written: Any, *_: object) -> tuple[str, None] | None:
    """Show a class's own settings, not the call of its metaclass."""
    if not isinstance(written, type):
        return None
    with suppress(ValueError):
        return stringify_signature(
            inspect.signature(written), show_annotation=False, show_return_annotation=False
        ), None
    return None


def setup(app: Sphinx) -> dict[str, bool]:
    """Write the pages before Sphinx looks for sources."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-before-process-signature", strip_constraints)
    app.connect("autodoc-process-signature", show_settings, priority=900)
    return {"parallel_read_safe": True}
