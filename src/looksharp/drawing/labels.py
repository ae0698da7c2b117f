"""Draw class indices over photographs, and rows of pictures."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from looksharp.drawing.overlay import picture
from looksharp.files import replacing
from looksharp.marks.class_images import UNKNOWN, palette

__all__ = ["draw_rows", "label_overlay"]

Pixels = npt.NDArray[np.uint8]
_OPACITY = 0.65
_CELL = 2.2  # inches
_LINE = 0.3  # of the key, inches
_DPI = 110


def label_overlay(image: Tensor, labels: Tensor) -> Pixels:
    """Draw class indices over an image in VOC's colours; the background is the image in grey, unknown pixels the image.

    Args:
        image: colours (3, H, W) in [0, 1].
        labels: (H, W) class indices, 0 for the background and 255 where unknown.

    Returns:
        (H', W', 3) bytes, see `picture`.

    Raises:
        ValueError: if labels are of another size than the image.

    Example:
        >>> label_overlay(torch.full((3, 2, 2), 1.0), torch.tensor([[0, 1], [1, 255]]))[0, 0]
        array([255, 255, 255], dtype=uint8)

    """
    if labels.shape != image.shape[1:]:
        raise ValueError(f"labels must be of the image's size {tuple(image.shape[1:])}; got {tuple(labels.shape)}")
    labels = labels.cpu().long()
    colours = palette()[labels].permute(2, 0, 1).float() / 255
    grey = image.cpu().float().mean(0, keepdim=True).expand(3, -1, -1)
    shown = (labels != 0) & (labels != UNKNOWN)
    drawn = torch.where(shown, _OPACITY * colours + (1 - _OPACITY) * grey, grey)
    return picture(torch.where(labels == UNKNOWN, image.cpu().float(), drawn))


def draw_rows(
    rows: Sequence[Sequence[tuple[str, Pixels]]], path: Path, *, key: Mapping[int, str] | None = None
) -> None:
    """Write a PNG of rows of pictures, each with a title, and below them a key to the colours of classes.

    Args:
        rows: (title, pixels (H, W, 3)) of each picture.
        path: the file.
        key: class index -> name, as `label_overlay` colours them; no key if there are none.

    Raises:
        ValueError: if there is no picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not rows or not all(rows):
        raise ValueError("rows must hold at least one picture each; got none")
    columns = max(map(len, rows))
    titled = [[("\n".join(textwrap.wrap(title, 30)), pixels) for title, pixels in row] for row in rows]
    heights = [
        _CELL * max(pixels.shape[0] / pixels.shape[1] for _, pixels in row)
        + 0.2
        + 0.15 * max(1 + title.count("\n") for title, _ in row)
        for row in titled
    ]
    patches = [Patch(label=name) for _, name in sorted((key or {}).items())]
    for patch, index in zip(patches, sorted(key or {}), strict=True):
        red, green, blue = (value / 255 for value in palette()[index].tolist())
        patch.set_color((red, green, blue))
    lines = -(-len(patches) // (2 * columns))
    figure = Figure((_CELL * columns, sum(heights) + _LINE * lines), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for number, row in enumerate(titled):
        for place, (title, pixels) in enumerate(row):
            axes = figure.add_subplot(grid[number, place])
            axes.imshow(pixels, interpolation="none")
            axes.set_title(title, fontsize=8, parse_math=False)
            axes.axis("off")
    if patches:
        figure.legend(handles=patches, loc="outside lower center", ncols=2 * columns, fontsize=8, frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
