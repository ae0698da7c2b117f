"""Draw the charts that only a comparison has: the KS chart, and images as points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from looksharp.comparison.results import Projection
from looksharp.drawing.canvas import INK, draw_legend, new_canvas, render

__all__ = ["draw_projection", "draw_separation"]

_NAMED = 20  # classes; with more, names would cover the points


def draw_separation(found: Mapping[str, Mapping[str, Any]], colors: Mapping[str, str], dark: bool) -> bytes:
    """Draw each method's KS chart (ICASC Fig. 9): two distribution functions, and where they are farthest apart.

    Args:
        found: method -> "probability", "target", "confused" (lists of one length), "margin" and "at".
        colors: method -> colour.
        dark: draw for a dark page.
    """
    from matplotlib.ticker import PercentFormatter

    figure, axes = new_canvas(3.4, dark)
    handles = []
    for method, chart in found.items():
        x, color = chart["probability"], colors[method]
        (line,) = axes.plot(x, chart["target"], "-", color=color, linewidth=1.8)
        axes.plot(x, chart["confused"], "--", color=color, linewidth=1.4)
        at = min(range(len(x)), key=[abs(value - chart["at"]) for value in x].__getitem__)
        axes.plot([x[at]] * 2, [chart["target"][at], chart["confused"][at]], color=color, linewidth=3, alpha=0.5)
        handles.append(line)
    axes.set_xlabel("Probability")
    axes.set_ylabel("Images with at most that")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(color=INK[dark].grid, linewidth=0.6)
    draw_legend(figure, handles, [f"{method}, {chart['margin']:.2f}" for method, chart in found.items()], dark)
    return render(figure, "svg")


def draw_projection(projection: Projection, classes: Sequence[str], dark: bool) -> bytes:
    """Draw points coloured by class; a few classes are named at the median of their points."""
    import matplotlib
    from matplotlib.patheffects import withStroke

    figure, axes = new_canvas(4.2, dark)
    ink, present = INK[dark], projection.labels.unique().tolist()
    palette = matplotlib.colormaps["tab10" if len(present) <= 10 else "tab20" if len(present) <= 20 else "hsv"]
    for place, label in enumerate(present):
        points = projection.points[projection.labels == label]
        color = palette(place if len(present) <= 20 else place / len(present))
        axes.scatter(points[:, 0].tolist(), points[:, 1].tolist(), s=18, color=color, linewidths=0)
        if len(present) <= _NAMED:
            x, y = points.median(0).values.tolist()
            text = axes.text(x, y, classes[label], ha="center", va="center", weight="bold", parse_math=False)
            text.set(color=ink.text, path_effects=[withStroke(linewidth=3, foreground=ink.page)])
    axes.set(xticks=[], yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    return render(figure, "svg")
