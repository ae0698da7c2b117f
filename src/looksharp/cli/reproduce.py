"""Reproduce a table of the papers: train its rows with their settings, and set paper against measured."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from jsonargparse import ArgumentParser, Namespace

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("recipe", nargs="?", default=None, help="PAPER/TABLE; all are listed if not given.")
    parser.add_argument("--describe", action="store_true", help="Only say what the recipe needs, costs and sets.")
    parser.add_argument("--root", type=Path, default=None, help="Folder that holds the data set's files.")
    parser.add_argument("--data", type=str, default=None, help="An image folder in place of the recipe's set.")
    parser.add_argument(
        "--cue", type=Path, default=None, help="Folder of without_cue and cue_alone, where the recipe tests a cue."
    )
    parser.add_argument("--rows", nargs="+", default=None, help="Short names of rows; all if not given.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="A run of each row for each seed.")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="Share of epochs and images, for a smoke run: no reproduction."
    )
    parser.add_argument("--out", type=Path, default=Path("runs/reproduce"), help="Folder of all reproductions.")
    parser.add_argument(
        "--device", type=Literal["auto", "cpu", "cuda", "mps"], default="auto", help="auto, cpu, cuda or mps."
    )
    parser.add_argument("--workers", type=int, default=2, help="Processes that read image files.")
    parser.add_argument(
        "--precision",
        type=Literal["32-true", "bf16-mixed", "16-mixed"],
        default=None,
        help="Other than the recipe's; the table names it.",
    )
    parser.add_argument(
        "--from_scratch", action="store_true", help="Do a smoke run without published weights, as they are not at hand."
    )


def run(settings: Namespace) -> None:
    from looksharp.reproducing.listing import describe, overview
    from looksharp.reproducing.reading import read_recipe, recipe_names

    if settings.recipe is None:
        print(overview([read_recipe(name) for name in recipe_names()]))
        return
    recipe = read_recipe(settings.recipe)
    if settings.describe:
        print(describe(recipe))
        return
    from looksharp.reproducing.running import reproduce

    values = settings.as_dict()
    for name in ("recipe", "describe"):
        values.pop(name)
    folder = reproduce(recipe, **values)
    print((folder / "results.md").read_text(encoding="utf-8"))
    print(folder / "results.md")
