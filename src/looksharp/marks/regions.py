"""Masks made when asked for; those of a data set with a mark on every image would not fit into memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, overload

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.images.headers import read_size
from looksharp.marks.mask_images import load_pixels, read_mask
from looksharp.marks.union import Box, Mask, MaskUnion, box_mask

__all__ = ["Boxes", "ClassMask", "Discs", "MadeMasks", "MaskFile", "Region", "box_regions", "check_fit"]


class Region(Protocol):
    """An object's place in its image."""

    def mask(self) -> Mask:
        """Return the object's pixels (H, W), of the image's own size."""


@dataclass(frozen=True)
class Boxes:
    """Boxes in an image of `size` (height, width); a pixel belongs to one that holds its centre."""

    size: tuple[int, int]
    boxes: tuple[Box, ...]

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        return np.logical_or.reduce([box_mask(box, self.size) for box in self.boxes])


@dataclass(frozen=True)
class Discs:
    """Discs around points (x, y) of an image of `size` (height, width); (0.5, 0.5) is the first pixel's middle."""

    size: tuple[int, int]
    centres: tuple[tuple[float, float], ...]
    radius: float

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        rows, columns = (np.arange(length) + 0.5 for length in self.size)
        inside = np.zeros(self.size, dtype=bool)
        for x, y in self.centres:
            inside |= (rows[:, None] - y) ** 2 + (columns - x) ** 2 <= self.radius**2
        return inside


@dataclass(frozen=True)
class MaskFile:
    """A mask image, as `mask_images.read_mask` reads it."""

    file: Path

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        return read_mask(self.file)


@dataclass(frozen=True)
class ClassMask:
    """The pixels of one index in an image file of class indices."""

    file: Path
    index: int

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        mask: Mask = load_pixels(self.file)[1] == self.index
        return mask

    def unknown(self) -> Mask:
        """Return the pixels (H, W) of index 255, VOC's borders and what is too hard to tell."""
        mask: Mask = load_pixels(self.file)[1] == 255
        return mask


@dataclass(frozen=True)
class _Around:
    region: Region

    def mask(self) -> Mask:
        mask = self.region.mask()
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = np.zeros_like(mask)
        if len(rows):
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
        return box


class MadeMasks(Sequence[Tensor]):
    """Masks (H, W) of regions, each made anew whenever it is read."""

    def __init__(self, regions: Iterable[Region]) -> None:
        self.regions = list(regions)

    def __len__(self) -> int:
        return len(self.regions)

    @overload
    def __getitem__(self, row: int) -> Tensor: ...
    @overload
    def __getitem__(self, row: slice) -> MadeMasks: ...
    def __getitem__(self, row: int | slice) -> Tensor | MadeMasks:
        if isinstance(row, slice):
            return MadeMasks(self.regions[row])
        return torch.from_numpy(self.regions[row].mask())

    def unknown(self, row: int) -> Tensor | None:
        """Return the pixels (H, W) of no known class in the class image of a region; None if it is of none."""
        region = self.regions[row]
        return torch.from_numpy(region.unknown()) if isinstance(region, ClassMask) else None

    def taken(self, rows: Iterable[int]) -> MadeMasks:
        """Return some of them, by their places."""
        return MadeMasks(self.regions[row] for row in rows)

    def boxed(self) -> MadeMasks:
        """Return each replaced by the box around it."""
        return MadeMasks(_Around(region) for region in self.regions)


def box_regions(root: Path, boxes: Mapping[str, Sequence[Box]], source: Path) -> tuple[dict[str, Region], Counter[str]]:
    """Return each image's boxes as a region, and counts of boxes left out or clipped.

    Images without a box have no region.

    Args:
        root: the folder of the images.
        boxes: an image's boxes by its path: left, top, right and bottom edge in pixels.
        source: the file or folder that lists the boxes, for messages.

    Raises:
        ValueError: if an image cannot be read, or a box lies wholly outside its image.
    """
    regions: dict[str, Region] = {}
    notes: Counter[str] = Counter()
    for path, found in tqdm(boxes.items(), "reading sizes of images", disable=len(boxes) < 2000, leave=False):
        size = read_size(root / path)
        union = MaskUnion(source, {path: size}, ())
        kept = []
        for box in found:
            where = f"{source}: the box of {path}"
            if box[2] <= box[0] or box[3] <= box[1]:
                union.skip("empty box", where)
                continue
            union.check_inside(path, box, where)
            kept.append(box)
        notes.update({str(reason): count for reason, count in union.skipped.items()})
        if kept:
            regions[path] = Boxes(size, tuple(kept))
    return regions, notes


def check_fit(file: Path, size: tuple[int, ...], image: Path) -> None:
    """Raise ValueError, naming both, unless the mask in `file`, of `size`, is of its image's size."""
    wanted = read_size(image)
    if size != wanted:
        raise ValueError(
            f"{file} has {size[0]}x{size[1]} pixels (height x width), but {image} has {wanted[0]}x{wanted[1]}"
        )
