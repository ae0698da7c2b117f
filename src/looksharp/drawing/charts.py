"""Charts of numbers: curves over training, bars of accuracy."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import compress, cycle

from looksharp.drawing.canvas import INK, ImageFormat, draw_legend, new_canvas, render

__all__ = ["bars", "curves", "run_colors"]

# After Okabe and Ito, for colour-blind readers too; grey for the first run, which others are compared with.
_COLORS = {
    False: ("#767676", "#0072b2", "#d55e00", "#00805c", "#a6427f", "#8a6d00", "#3b3b9e"),
    True: ("#a8a8a8", "#56b4e9", "#ff9146", "#33c79b", "#e59ac6", "#e6c229", "#a3a3ff"),
}
_STYLES = ("-", "--", ":")


def run_colors(names: Iterable[str], *, dark: bool = False) -> dict[str, str]:
    """Choose a colour for each run, the same in all charts and tables, for a light page or a dark one."""
    palette = _COLORS[dark]
    return {name: palette[place % len(palette)] for place, name in enumerate(names)}


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    ylabel: str,
    xlabel: str = "Epoch",
    percent: bool = False,
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    colors: Mapping[str, str] | None = None,
    dark: bool = False,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Draw a line per run.

    Args:
        series: run -> (x, y), of one length; points that are not finite are left out.
        ylabel: label of y.
        xlabel: label of x.
        percent: show y, a share in [0, 1], in per cent.
        bands: run -> (lowest, highest) y, shaded around its line; a run may be missing.
        colors: run -> colour; from `run_colors` if not given.
        dark: draw for a dark page. The background is transparent either way.
        image_format: "svg" or "png".

    Raises:
        ValueError: if a run's x and y differ in length.

    Example:
        >>> curves({"plain": ([1, 2, 3], [0.9, 0.5, 0.4])}, ylabel="Loss", image_format="png")[1:4]
        b'PNG'

    """
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    for name, (x, y) in series.items():
        if len(x) != len(y):
            raise ValueError(f"series must pair x with y; {name!r} has {len(x)} and {len(y)} values")
    chosen = run_colors(series, dark=dark) if colors is None else colors
    figure, axes = new_canvas(3.0, dark)
    # By the colours' order, so that a run keeps its style in charts where another is missing.
    styles = dict(zip(chosen, cycle(_STYLES), strict=False))
    for name, (x, y) in series.items():
        known = [math.isfinite(a) and math.isfinite(b) for a, b in zip(x, y, strict=True)]
        axes.plot(
            list(compress(x, known)),
            list(compress(y, known)),
            styles[name],
            color=chosen[name],
            marker="o" if sum(known) <= 20 else "",  # one epoch alone is no line
            markersize=3,
            linewidth=1.8,
        )
    for name, (low, high) in (bands or {}).items():
        axes.fill_between(series[name][0], low, high, color=chosen[name], alpha=0.18, linewidth=0)
    axes.set_ylabel("\n".join(textwrap.wrap(ylabel, 26)), parse_math=False)
    axes.set_xlabel(xlabel, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=INK[dark].grid, linewidth=0.6)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    draw_legend(figure, axes.get_lines(), series, dark)
    return render(figure, image_format)


def bars(
    accuracies: Mapping[str, Mapping[str, float]],
    *,
    chance: float | None = None,
    spreads: Mapping[str, Mapping[str, float]] | None = None,
    colors: Mapping[str, str] | None = None,
    dark: bool = False,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Draw accuracy as bars grouped by split, one bar a run, each with its value.

    Args:
        accuracies: run -> split -> accuracy in [0, 1]; a missing split or NaN shows as a dash.
        chance: accuracy of a guess, drawn as a dashed line.
        spreads: run -> split -> standard deviation, drawn to both sides of a bar's end; any may be missing.
        colors: run -> colour; from `run_colors` if not given.
        dark: draw for a dark page. The background is transparent either way.
        image_format: "svg" or "png".

    Raises:
        ValueError: if there is nothing to draw.

    Example:
        >>> bars({"plain": {"test": 0.5}, "ICASC": {"test": 0.6}}, chance=0.1, image_format="png")[1:4]
        b'PNG'

    """
    from matplotlib.ticker import PercentFormatter

    splits = list(dict.fromkeys(split for values in accuracies.values() for split in values))
    if not splits:
        raise ValueError("accuracies must hold at least one run with one split; got none")
    chosen = run_colors(accuracies, dark=dark) if colors is None else colors
    ink = INK[dark]
    group = len(accuracies) + 1.4  # the bars, the split's name and some air
    figure, axes = new_canvas(0.24 * group * len(splits) + 0.5, dark)
    clear = {"facecolor": ink.page, "edgecolor": "none", "pad": 0.8}
    ticks = {}
    for number, split in enumerate(splits):
        axes.text(0, number * group, split, weight="bold", va="center", color=ink.text, bbox=clear, parse_math=False)
        for place, (name, values) in enumerate(accuracies.items(), 1):
            y, value = number * group + place, values.get(split, math.nan)
            known = math.isfinite(value)
            axes.barh(y, value if known else 0, height=0.82, color=chosen[name])
            text, end = (f"{value:.1%}", value) if known else ("–", 0.0)
            spread = (spreads or {}).get(name, {}).get(split, math.nan)
            if known and math.isfinite(spread):
                axes.plot([value - spread, value + spread], [y, y], color=ink.text, linewidth=1.4)
                end += spread
            axes.text(end + 0.012, y, text, va="center", color=ink.text, bbox=clear)
            ticks[y] = name
    if chance is not None and math.isfinite(chance):
        axes.axvline(chance, color=ink.text, linestyle="--", linewidth=1)
        axes.text(chance, -0.9, f" guessing, {chance:.1%}", va="center", color=ink.text, fontsize=8.5, parse_math=False)
    axes.set_yticks(list(ticks), list(ticks.values()), parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=(0, 1.13), ylim=(group * len(splits) - 0.7, -1.4), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.xaxis.set_major_formatter(PercentFormatter(xmax=1))
    axes.grid(axis="x", color=ink.grid, linewidth=0.6)
    axes.spines[["left", "bottom"]].set_visible(False)
    return render(figure, image_format)
