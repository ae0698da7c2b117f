"""Reproduce a table of the papers: train its rows with their settings, and set paper against measured."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.reproducing.settings import ReproduceSettings

    parser.add_argument("recipe", nargs="?", default=None, help="PAPER/TABLE; all are listed if not given.")
    parser.add_argument("--describe", action="store_true", help="Only say what the recipe needs, costs and sets.")
    add_flags(parser, ReproduceSettings)


def _run(settings: Namespace) -> None:
    from looksharp.reproducing.listing import describe, overview
    from looksharp.reproducing.reading import read_recipe, recipe_names

    if settings.recipe is None:
        print(overview([read_recipe(name) for name in recipe_names()]))
        return
    recipe = read_recipe(settings.recipe)
    if settings.describe:
        print(describe(recipe))
        return
    from looksharp.reproducing.running import reproduce_table
    from looksharp.reproducing.settings import ReproduceSettings

    folder = reproduce_table(recipe, call(ReproduceSettings, settings))
    print((folder / "results.md").read_text(encoding="utf-8"))
    print(folder / "results.md")


COMMANDS.add(
    "reproduce",
    Command(
        "Reproduce a table of the papers: list, train, and set paper against measured.",
        _add_flags,
        _run,
        "the same command goes on where it stopped",
        place=8,
    ),
)
