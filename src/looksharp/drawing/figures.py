"""One picture of many overlays: an image a row, a class a column."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np
from torch import Tensor

from looksharp.drawing.overlay import common_scale, draw_outline, draw_panel, picture, scale_colors
from looksharp.drawing.panel import Panel
from looksharp.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["attention_grid"]

_CELL = 1.7  # inches
_LINE = 0.17  # inches a line of text takes
_DPI = 150
_TALLEST = 65_000  # pixels; matplotlib draws fewer than 2 ** 16
_RED = "#d6001c"

Row = tuple[Tensor, Sequence[Panel]]


@overload
def attention_grid(
    rows: Sequence[Row],
    path: None = None,
    *,
    titles: Sequence[str] | None = None,
    outlines: Sequence[Tensor | None] | None = None,
) -> bytes: ...


@overload
def attention_grid(
    rows: Sequence[Row],
    path: Path,
    *,
    titles: Sequence[str] | None = None,
    outlines: Sequence[Tensor | None] | None = None,
) -> None: ...


def attention_grid(
    rows: Sequence[Row],
    path: Path | None = None,
    *,
    titles: Sequence[str] | None = None,
    outlines: Sequence[Tensor | None] | None = None,
) -> bytes | None:
    """Draw a row per image: the image, one overlay per panel on a common scale, then that scale.

    Args:
        rows: images (3, H, W) in [0, 1], each with its panels.
        path: PNG file to write; if None, the PNG is returned.
        titles: text above each row's image.
        outlines: each row's mask (H, W) of the object, outlined on every picture of the row, or None.

    Raises:
        ValueError: if there are no rows, or their number differs from that of the titles or outlines; see also
            `overlay`.

    Example:
        >>> import torch
        >>> panels = [Panel("cat .7", torch.rand(7, 7), emphasis=True), Panel("dog .2", torch.rand(7, 7))]
        >>> attention_grid([(torch.rand(3, 64, 64), panels)])[1:4]
        b'PNG'

    """
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("rows must hold at least one image; got none")
    for argument, values in {"titles": titles, "outlines": outlines}.items():
        if values is not None and len(values) != len(rows):
            raise ValueError(f"{argument} must be one to a row, {len(rows)}; got {len(values)}")
    names = [""] * len(rows) if titles is None else titles
    columns = 1 + max(len(panels) for _, panels in rows)
    heights = [_height(image, name, panels) for name, (image, panels) in zip(names, rows, strict=True)]
    figure = Figure((_CELL * columns + 0.8, sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns + 1, width_ratios=[1.0] * columns + [0.05], height_ratios=heights)
    for number, (image, panels) in enumerate(rows):
        peak, signed = common_scale(panels)
        mask = None if outlines is None else outlines[number]
        plain = picture(image)
        axes = figure.add_subplot(grid[number, 0])
        _show(axes, plain if mask is None else draw_outline(plain, mask))
        axes.set_title(_wrap(names[number]), fontsize=9, parse_math=False)
        for place, panel in enumerate(panels, 1):
            pixels = draw_panel(image, panel, peak, signed)
            axes = figure.add_subplot(grid[number, place])
            _show(axes, pixels if mask is None else draw_outline(pixels, mask), panel)
        if peak > 0:
            _show_scale(figure.add_subplot(grid[number, columns]), signed)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=min(_DPI, _TALLEST / sum(heights)))
    if path is None:
        return buffer.getvalue()
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return None


def _height(image: Tensor, name: str, panels: Sequence[Panel]) -> float:
    """Return the height of a row in inches: the picture, the text above it and the text below."""
    above, below = [name, *(panel.title for panel in panels)], [panel.caption for panel in panels]
    lines = sum(max((_wrap(t).count("\n") + bool(t) for t in texts), default=0) for texts in (above, below))
    return _CELL * image.shape[1] / image.shape[2] + _LINE * (lines + 1)


def _wrap(text: str) -> str:
    return "\n".join(textwrap.wrap(text, 24))


def _show(axes: Axes, pixels: np.ndarray, panel: Panel | None = None) -> None:
    axes.imshow(pixels, interpolation="none")
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(panel is not None and panel.emphasis)
        spine.set(color=_RED, linewidth=3)
    if panel is None:
        return
    # A class may be called "$1 bill": text is never read as mathematics.
    axes.set_title(_wrap(panel.title), fontsize=9, parse_math=False)
    axes.set_xlabel(_wrap(panel.caption), fontsize=8, parse_math=False)
    if panel.remark:
        box = {"boxstyle": "round", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
        axes.text(0.5, 0.5, panel.remark, transform=axes.transAxes, ha="center", va="center", fontsize=9, bbox=box)


def _show_scale(axes: Axes, signed: bool) -> None:
    axes.imshow(scale_colors(signed)[:, None], origin="lower", aspect="auto", extent=(0, 1, -1 if signed else 0, 1))
    ticks = {-1: "against", 0: "0", 1: "for"} if signed else {0: "none", 1: "most"}
    axes.set(xticks=[])
    axes.yaxis.tick_right()
    axes.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
