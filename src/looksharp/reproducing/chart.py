"""Draw a table's rows as points, one metric over another: WARN Fig. 5, accuracy over operations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from looksharp.drawing.canvas import INK, draw_legend, new_canvas, render
from looksharp.drawing.charts import run_colors
from looksharp.reproducing.recipe import Recipe
from looksharp.reproducing.table import Line

__all__ = ["draw_chart", "points_of"]

Point = tuple[float, float]


def points_of(recipe: Recipe, lines: Sequence[Line]) -> dict[str, dict[str, Point]]:
    """Return the paper's and our points: "paper" and "ours" -> label of a row -> (across, up).

    An error (%) is drawn as accuracy. Rows that lack either figure are left out.
    """
    across, up = recipe.chart["across"], recipe.chart["up"]
    found: dict[str, dict[str, Point]] = {"paper": {}, "ours": {}}
    of = {(line.row, line.metric): line for line in lines}
    for row, each in recipe.rows.items():
        first, second = of.get((row, across)), of.get((row, up))
        if first is None or second is None:
            continue
        for whose, x, y in (("paper", first.paper, second.paper), ("ours", first.ours, second.ours)):
            if x is not None and y is not None:
                found[whose][each.label] = x, 100 - y if recipe.measure[up].unit == "error" else y
    return found


def draw_chart(recipe: Recipe, points: Mapping[str, Mapping[str, Point]]) -> bytes:
    """Return the chart as SVG: a colour for each row, circles for the paper, dots for ours."""
    figure, axes = new_canvas(3.4, dark=False)
    axes.grid(color=INK[False].grid, linewidth=0.6)
    labels = dict.fromkeys(label for whose in points.values() for label in whose)
    colors = run_colors(labels)
    handles = {}
    for whose, found in points.items():
        for label, (x, y) in found.items():
            face = "none" if whose == "paper" else colors[label]
            mark = axes.scatter([x], [y], s=44, facecolors=face, edgecolors=colors[label], linewidths=1.6)
            handles[f"{label}, {whose}"] = mark
    up = recipe.chart["up"]
    axes.set_xlabel(recipe.chart["across"])
    axes.set_ylabel("accuracy, %" if recipe.measure[up].unit == "error" else up)
    if handles:
        draw_legend(figure, handles.values(), handles, dark=False)
    return render(figure, "svg")
