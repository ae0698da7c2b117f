"""Many images on one sheet, in groups that each have a heading."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from looksharp.drawing.overlay import draw_outline, picture
from looksharp.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Tile", "contact_sheet"]

_CELL, _GAP = 1.5, 0.14  # inches
_LINE = 0.15  # inches a line of text takes
_DPI = 150
_TALLEST = 65_000  # pixels; matplotlib draws fewer than 2 ** 16
_RULE = "#888888"


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture.

    Attributes:
        image: (3, H, W) in [0, 1].
        title: text above it.
        caption: text below it.
        outline: a mask (h, w), enlarged to the image and outlined on it.
    """

    image: Tensor
    title: str
    caption: str = ""
    outline: Tensor | None = None


def contact_sheet(groups: Sequence[tuple[str, Sequence[Tile]]], path: Path, *, columns: int = 8) -> None:
    """Write a PNG of all tiles, group after group: a rule and a heading above each.

    Groups share a row while they fit; a longer group starts a new row and continues below.

    Args:
        groups: heading and tiles of each.
        path: the file to write.
        columns: tiles in a row.

    Raises:
        ValueError: if there is no tile; see also `picture`.
    """
    from matplotlib.figure import Figure

    rows = _rows([group for group in groups if group[1]], columns)
    if not rows:
        raise ValueError("groups must hold at least one tile; got none")
    tiles = [tile for row in rows for _, _, members in row for tile in members]
    side = _CELL * max(tile.image.shape[1] / tile.image.shape[2] for tile in tiles)
    lines = [max(_wrap(heading, len(members)).count("\n") for heading, _, members in row) + 1 for row in rows]
    names = max(_wrap(tile.title).count("\n") + 1 for tile in tiles)
    notes = max(_wrap(tile.caption).count("\n") + 1 for tile in tiles)
    heights = [2 * _GAP + (above + names + notes) * _LINE + side for above in lines]
    width = min(columns, max(place + len(members) for row in rows for _, place, members in row))
    figure = Figure((_GAP + width * (_CELL + _GAP), sum(heights)))
    top = sum(heights)
    for row, above, height in zip(rows, lines, heights, strict=True):
        for heading, place, members in row:
            _draw_heading(figure, heading, _GAP + place * (_CELL + _GAP), top - _GAP, len(members))
            for number, tile in enumerate(members, place):
                left = _GAP + number * (_CELL + _GAP)
                _draw_tile(figure, tile, left, top - _GAP - (above + names) * _LINE - side, side)
        top -= height
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=min(_DPI, _TALLEST / sum(heights)))
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


_Row = list[tuple[str, int, Sequence[Tile]]]


def _rows(groups: Sequence[tuple[str, Sequence[Tile]]], columns: int) -> list[_Row]:
    """Return rows of (heading, first column, tiles)."""
    rows: list[_Row] = []
    free = 0
    for heading, tiles in groups:
        for start in range(0, len(tiles), columns):
            members = tiles[start : start + columns]
            if len(members) > free or len(tiles) > columns:
                rows.append([])
                free = columns
            rows[-1].append((heading if start == 0 else f"{heading}, continued", columns - free, members))
            free -= len(members)
    return rows


def _wrap(text: str, tiles: int = 1) -> str:
    return "\n".join(textwrap.wrap(text, int(tiles * (_CELL + _GAP) * 13)))


def _draw_heading(figure: Figure, heading: str, left: float, top: float, tiles: int) -> None:
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    ends = [left / width, (left + tiles * (_CELL + _GAP) - _GAP) / width]
    figure.add_artist(Line2D(ends, [top / height] * 2, color=_RULE, linewidth=1.5))
    text = figure.text(ends[0], (top - 0.04) / height, _wrap(heading, tiles), fontsize=8, va="top", weight="bold")
    text.set_parse_math(False)  # a class may be called "$1 bill"


def _draw_tile(figure: Figure, tile: Tile, left: float, bottom: float, side: float) -> None:
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, _CELL / width, side / height))
    pixels = picture(tile.image)
    axes.imshow(pixels if tile.outline is None else draw_outline(pixels, tile.outline), interpolation="none")
    axes.set_axis_off()
    axes.set_title(_wrap(tile.title), fontsize=8, pad=2, loc="left", parse_math=False)
    axes.text(
        0,
        -0.03,
        _wrap(tile.caption),
        transform=axes.transAxes,
        fontsize=7,
        va="top",
        color="#555555",
        parse_math=False,
    )
