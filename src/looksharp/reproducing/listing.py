"""List recipes, with the data and time that each needs."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import yaml

from looksharp.reproducing.recipe import Recipe

__all__ = ["cost_of", "describe", "overview"]

_PASSES = 3
"""A training step takes about three forwards: one, and twice as much to go back."""
_RATE = 1e13
"""Operations a second that a GPU sustains, for an estimate: 10 TFLOP/s."""


def cost_of(recipe: Recipe) -> float:
    """Estimate the hours that all rows train with one seed, on a GPU that sustains 10 TFLOP/s.

    Three forwards of the table's largest network for each image and epoch; attention terms and second forwards of
    an objective come on top.
    """
    passes = sum(recipe.config(row).training.epochs for row in recipe.rows) * recipe.images
    return _PASSES * recipe.gflops * 1e9 * passes / _RATE / 3600


def overview(recipes: Sequence[Recipe]) -> str:
    """Return a table with a line for each recipe."""
    head = ["recipe", "what", "rows", "data", "epochs", "images", "GPU-hours"]
    table = [head]
    for recipe in recipes:
        configs = [recipe.config(row) for row in recipe.rows]
        epochs = sorted({config.training.epochs for config in configs})
        data = "your folder" if recipe.folder else ", ".join(dict.fromkeys(config.data.data for config in configs))
        shown = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
        table.append([recipe.name, recipe.title, str(len(configs)), data, shown, f"{recipe.images:,}", _hours(recipe)])
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    right = (2, 4, 5, 6)
    lines = [
        "  ".join(
            cell.rjust(w) if place in right else cell.ljust(w)
            for place, (cell, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]
    note = (
        "GPU-hours: all rows, one seed, estimated as three forwards an image and epoch at 10 TFLOP/s; what attention "
        "terms take comes on top. looksharp reproduce RECIPE --describe says what the data must look like."
    )
    return "\n".join([*lines, "", note])


def describe(recipe: Recipe) -> str:
    """Describe a recipe: its data, cost, readings and rows."""
    parts = [
        f"{recipe.name}: {recipe.title} ({recipe.paper})",
        f"Data: {recipe.data}",
        f"Cost: about {_hours(recipe)} GPU-hours for all rows with one seed, at 10 TFLOP/s sustained.",
    ]
    if recipe.notes:
        parts.append(f"Readings: {recipe.notes}")
    parts = [textwrap.fill(" ".join(part.split()), 110) for part in parts]
    for name, row in recipe.rows.items():
        figures = ", ".join(f"{metric} {figure:g}" for metric, figure in row.paper.items()) or "no figure"
        settings = yaml.safe_dump(dict(row.settings), sort_keys=False, allow_unicode=True)
        note = f"\n    {' '.join(row.note.split())}" if row.note else ""
        parts.append(f"  {name}: {row.label}; paper: {figures}{note}\n{textwrap.indent(settings.rstrip(), '    ')}")
    return "\n\n".join(parts)


def _hours(recipe: Recipe) -> str:
    hours = cost_of(recipe)
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
