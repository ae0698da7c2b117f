"""A transparent canvas of one width for all charts, with ink for a light page or a dark one."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["INK", "ImageFormat", "Ink", "draw_legend", "new_canvas", "render"]

ImageFormat = Literal["svg", "png"]


class Ink(NamedTuple):
    """Colours of all that is not data."""

    text: str
    grid: str
    page: str  # what the page is coloured, to keep lines from crossing text


INK = {False: Ink("#333333", "#dddddd", "#ffffff"), True: Ink("#dddddd", "#444444", "#161616")}
"""Ink for a light page (False) and a dark one (True)."""

_WIDTH = 5.0  # inches: readable at a phone's width


def new_canvas(height: float, dark: bool) -> tuple[Figure, Axes]:
    """Make an empty chart, `height` inches high."""
    from matplotlib.figure import Figure

    ink = INK[dark]
    figure = Figure((_WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink.text)
    axes.tick_params(colors=ink.text)
    axes.xaxis.label.set_color(ink.text)
    axes.yaxis.label.set_color(ink.text)
    return figure, axes


def draw_legend(figure: Figure, handles: Iterable[Artist], names: Iterable[str], dark: bool) -> None:
    """Write names above the chart, in up to four columns as its width allows."""
    # A leading space, because matplotlib leaves out names that begin with an underscore.
    handles, labels = list(handles), [f" {name}" for name in names]
    for columns in (4, 3, 2, 1):
        legend = figure.legend(
            handles,
            labels,
            loc="outside upper left",
            ncols=columns,
            frameon=False,
            labelcolor=INK[dark].text,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def render(figure: Figure, image_format: ImageFormat) -> bytes:
    """Return the chart as a file's content, the same bytes whenever the same is drawn."""
    from matplotlib import rc_context

    buffer = BytesIO()
    dated = {"metadata": {"Date": None}} if image_format == "svg" else {}
    with rc_context({"svg.hashsalt": "looksharp"}):  # else names within are drawn at random
        figure.savefig(buffer, format=image_format, dpi=200, transparent=True, **dated)
    return buffer.getvalue()
