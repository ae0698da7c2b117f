"""Draw dots with intervals: the effect of interventions, and of more marked images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from looksharp.drawing.canvas import INK, ImageFormat, new_canvas, render
from looksharp.drawing.charts import run_colors

__all__ = ["DotGroup", "dots", "steps"]

Interval = tuple[float, float, float]
"""A value, its lowest and its highest."""


@dataclass(frozen=True)
class DotGroup:
    """One measure of several runs, for `dots`.

    Attributes:
        title: what is measured.
        better: "higher", "lower" or "".
        runs: run -> (value, lowest, highest); NaN where there is none.
        chance: the value of guessing, where it has one.
    """

    title: str
    better: str
    runs: Mapping[str, Interval]
    chance: float | None = None


def dots(
    groups: Sequence[DotGroup],
    *,
    colors: Mapping[str, str] | None = None,
    dark: bool = False,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Draw a dot for each run's value on a line from its lowest to its highest, grouped by measure; shares of 1.

    Guessing is a dashed tick across a group; a value that is not finite shows as a dash.

    Args:
        groups: one or more.
        colors: run -> colour; from `run_colors` if not given.
        dark: draw for a dark page. The background is transparent either way.
        image_format: "svg" or "png".

    Example:
        >>> dots([DotGroup("Accuracy", "higher", {"before": (0.5, 0.4, 0.6)}, 0.1)], image_format="png")[1:4]
        b'PNG'

    """
    from matplotlib.ticker import PercentFormatter

    names = list(dict.fromkeys(name for group in groups for name in group.runs))
    chosen = run_colors(names, dark=dark) if colors is None else colors
    ink = INK[dark]
    height = len(names) + 1.6  # the dots, the measure's name and some air
    figure, axes = new_canvas(0.24 * height * len(groups) + 0.5, dark)
    clear = {"facecolor": ink.page, "edgecolor": "none", "pad": 0.8}
    ends = [v for group in groups for value in group.runs.values() for v in value if math.isfinite(v)]
    left = min(0.0, *(math.floor(20 * end) / 20 for end in ends)) if ends else 0.0
    ticks = {}
    for number, group in enumerate(groups):
        top = number * height
        arrow = {"higher": "  → better", "lower": "  ← better"}.get(group.better, "")
        title = axes.text(left, top, group.title, va="center", color=ink.text, bbox=clear, parse_math=False)
        title.set(weight="bold", fontsize=9, in_layout=False)
        axes.annotate(arrow, (1, 0.5), xycoords=title, va="center", color=ink.text, fontsize=9).set_in_layout(False)
        if group.chance is not None and math.isfinite(group.chance):
            axes.plot([group.chance] * 2, [top + 0.5, top + len(names) + 0.5], "--", color=ink.text, linewidth=1)
        for place, name in enumerate(names, 1):
            ticks[top + place] = name
            value, low, high = group.runs.get(name, (math.nan,) * 3)
            if not math.isfinite(value):
                axes.text(left, top + place, "–", va="center", color=ink.text)
                continue
            known = math.isfinite(low) and math.isfinite(high)
            axes.plot([low, high] if known else [], [top + place] * 2 * known, color=chosen[name], linewidth=2.6)
            axes.plot(value, top + place, "o", color=chosen[name], markersize=7)
            end = max(value, high) if known else value
            axes.text(
                end + 0.025, top + place, f"{value:.1%}".replace("-", "−"), va="center", color=ink.text, bbox=clear
            )
    axes.set_yticks(list(ticks), list(ticks.values()), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(left - 0.02, 1.15), ylim=(height * len(groups) - 0.9, -0.9), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(axis="x", color=ink.grid, linewidth=0.6)
    axes.spines[["left", "bottom"]].set_visible(False)
    return render(figure, image_format)


def steps(
    series: Mapping[str, Sequence[Interval]],
    xs: Sequence[int],
    *,
    xlabel: str,
    ylabel: str,
    dark: bool = False,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Draw lines over a few numbers, evenly spaced, with an interval at each number. Values are shares of 1.

    Args:
        series: name -> (value, lowest, highest) at each of `xs`.
        xs: the numbers.
        xlabel: what they are.
        ylabel: what the values are.
        dark: draw for a dark page. The background is transparent either way.
        image_format: "svg" or "png".

    Example:
        >>> steps({"test": [(0.2, 0.1, 0.3), (0.9, 0.8, 1.0)]}, [0, 8], xlabel="x", ylabel="y", image_format="png")[1:4]
        b'PNG'

    """
    from matplotlib.ticker import PercentFormatter

    colors, ink = run_colors(series, dark=dark), INK[dark]
    figure, axes = new_canvas(3.4, dark)
    for place, (name, points) in enumerate(series.items()):
        shift = 0.07 * (place - (len(series) - 1) / 2)  # so that intervals stand side by side
        at, color = [shift + x for x in range(len(xs))], colors[name]
        axes.plot(at, [value for value, _, _ in points], "-o", color=color, linewidth=1.8, markersize=5, label=name)
        axes.vlines(at, [low for _, low, _ in points], [high for _, _, high in points], color=color, linewidth=1.4)
    axes.set_xticks(range(len(xs)), [f"{x:,}" for x in xs])
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(axis="y", color=ink.grid, linewidth=0.6)
    legend = figure.legend(*axes.get_legend_handles_labels(), loc="outside upper left", ncols=2, frameon=False)
    for text in legend.get_texts():
        text.set(color=ink.text, parse_math=False)
    return render(figure, image_format)
