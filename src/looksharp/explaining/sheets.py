"""Sheets of pictures of some images of many, drawn from their stored maps."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from looksharp.data.split import Pixels, Split
from looksharp.data.transform import image_transform
from looksharp.drawing.figures import attention_grid
from looksharp.drawing.panel import Panel
from looksharp.explaining.shard import StoredMap, read_maps

__all__ = ["draw_sheets"]

_SHEET = 50  # images


def draw_sheets(split: Split, pixels: Pixels, folder: Path, count: int) -> list[Path]:
    """Draw `count` images of those whose maps are in a folder, spread evenly, a row each; return the files.

    Args:
        split: the images.
        pixels: how they become input.
        folder: where the maps are, and the sheets go: pictures-01.png and so on, of at most 50 images each.
        count: number of images.
    """
    transform, spread = image_transform(pixels), torch.linspace(0, len(split) - 1, min(count, len(split)))
    rows: list[tuple[Tensor, list[Panel]]] = []
    names: list[str] = []
    for place, maps in groupby(read_maps(folder, spread.round().int().tolist()), lambda each: each.index):
        found = list(maps)
        names.append(found[0].image)
        image = transform(split.image(place)).as_subclass(Tensor).float() / 255
        rows.append((image, [Panel(_title(each), torch.from_numpy(each.map)) for each in found]))
    written = []
    for number, start in enumerate(range(0, len(rows), _SHEET), 1):
        written.append(folder / f"pictures-{number:02d}.png")
        attention_grid(rows[start : start + _SHEET], written[-1], titles=names[start : start + _SHEET])
    return written


def _title(found: StoredMap) -> str:
    if found.head is None:
        return f"{found.name} {found.probability:.0%}"
    return f"{found.layer} {found.head + 1}: {found.name} {found.probability:.0%}"
