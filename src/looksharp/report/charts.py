"""Charts of numbers: curves over training, bars of accuracy."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from itertools import compress, cycle
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bars", "curves", "run_colors"]

ImageFormat = Literal["svg", "png"]


class _Ink(NamedTuple):
    text: str
    grid: str
    page: str  # what the page is coloured, to keep lines from crossing text


_INK = {False: _Ink("#333333", "#dddddd", "#ffffff"), True: _Ink("#dddddd", "#444444", "#161616")}
# After Okabe and Ito, for colour-blind readers too; grey for the first run, which others are held against.
_COLORS = {
    False: ("#767676", "#0072b2", "#d55e00", "#00805c", "#a6427f", "#8a6d00", "#3b3b9e"),
    True: ("#a8a8a8", "#56b4e9", "#ff9146", "#33c79b", "#e59ac6", "#e6c229", "#a3a3ff"),
}
_STYLES = ("-", "--", ":")
_WIDTH = 5.0  # inches: readable at a phone's width


def run_colors(names: Iterable[str], *, dark: bool = False) -> dict[str, str]:
    """A colour for each run, the same in all charts and tables; for a light page or a dark one."""
    palette = _COLORS[dark]
    return {name: palette[place % len(palette)] for place, name in enumerate(names)}


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    ylabel: str,
    xlabel: str = "Epoch",
    percent: bool = False,
    colors: Mapping[str, str] | None = None,
    dark: bool = False,
    image_format: ImageFormat = "svg",
) -> bytes:
    """A line per run.

    Args:
        series: run -> (x, y), of one length; points that are not finite are left out.
        ylabel: what y is.
        xlabel: what x is.
        percent: show y, a share of 1, as per cent.
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
    figure, axes = _canvas(3.0, dark)
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
    axes.set_ylabel("\n".join(textwrap.wrap(ylabel, 26)), parse_math=False)
    axes.set_xlabel(xlabel, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=_INK[dark].grid, linewidth=0.6)
    if percent:
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1))
    # A leading space, because matplotlib leaves out names that begin with an underscore.
    legend = figure.legend(
        axes.get_lines(),
        [f" {name}" for name in series],
        loc="outside upper left",
        ncols=4,
        frameon=False,
        labelcolor=_INK[dark].text,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _rendered(figure, image_format)


def bars(
    accuracies: Mapping[str, Mapping[str, float]],
    *,
    chance: float | None = None,
    colors: Mapping[str, str] | None = None,
    dark: bool = False,
    image_format: ImageFormat = "svg",
) -> bytes:
    """Accuracy as bars, grouped by split, one bar a run, each with its value.

    Args:
        accuracies: run -> split -> share of 1; a missing split or NaN shows as a dash.
        chance: accuracy of guessing, a dashed line.
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
    ink = _INK[dark]
    group = len(accuracies) + 1.4  # the bars, the split's name and some air
    figure, axes = _canvas(0.24 * group * len(splits) + 0.5, dark)
    clear = {"facecolor": ink.page, "edgecolor": "none", "pad": 0.8}
    ticks = {}
    for number, split in enumerate(splits):
        axes.text(0, number * group, split, weight="bold", va="center", color=ink.text, bbox=clear, parse_math=False)
        for place, (name, values) in enumerate(accuracies.items(), 1):
            y, value = number * group + place, values.get(split, math.nan)
            known = math.isfinite(value)
            axes.barh(y, value if known else 0, height=0.82, color=chosen[name])
            text = f"{value:.1%}" if known else "–"
            axes.text((value if known else 0) + 0.012, y, text, va="center", color=ink.text, bbox=clear)
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
    return _rendered(figure, image_format)


def _canvas(height: float, dark: bool) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    ink = _INK[dark]
    figure = Figure((_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink.text)
    axes.tick_params(colors=ink.text)
    axes.xaxis.label.set_color(ink.text)
    axes.yaxis.label.set_color(ink.text)
    return figure, axes


def _rendered(figure: Figure, image_format: ImageFormat) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=image_format, dpi=200, transparent=True)
    return buffer.getvalue()
