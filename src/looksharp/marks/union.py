"""Regions gathered into one mask per (image, class) pair, with a count of what was left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "Mask", "MaskUnion", "Reason", "box_mask"]

Mask = NDArray[np.bool_]  # (H, W)
Box = tuple[float, float, float, float]  # left, top, right, bottom edge: (0, 0, 1, 1) is the first pixel
Reason = Literal[
    "image not in the data",
    "class not in the data",
    "iscrowd",
    "empty box",
    "empty mask",
    "not an image file",
    "clipped to the image",  # used
    "difficult (used)",
]
_LARGEST = 1e6  # pixels; far past any image, and within what pycocotools' C integers hold


def box_mask(box: Box, size: tuple[int, int]) -> Mask:
    """The pixels whose centre a box holds, in an image of `size` (height, width)."""
    left, top, right, bottom = box
    rows, columns = (
        slice(max(math.ceil(low - 0.5), 0), max(math.ceil(high - 0.5), 0))
        for low, high in ((top, bottom), (left, right))
    )
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


class MaskUnion:
    """What an annotation file says, united per (image, class) pair in the order of first mention.

    Args:
        source: the file or folder, for messages.
        images: the (height, width) of every image; read for annotated images only.
        classes: class names.

    Attributes:
        masks: the union of the regions added for a pair, (H, W) bool.
        skipped: how many regions or files were left out, or used with a warning, for each `Reason`.

    """

    def __init__(self, source: Path, images: Mapping[str, tuple[int, int]], classes: Iterable[str]) -> None:
        self.source = source
        self.images = images
        self.classes = frozenset(classes)
        self.masks: dict[tuple[str, str], Mask] = {}
        self.skipped: Counter[Reason] = Counter()
        self._first: dict[Reason, str] = {}

    def skip(self, reason: Reason, what: str) -> None:
        """Count `what` under `reason`."""
        self.skipped[reason] += 1
        self._first.setdefault(reason, what)

    def knows(self, label: str, where: str) -> bool:
        """Whether `label` is a class; counted if not."""
        if label in self.classes:
            return True
        self.skip("class not in the data", f"{label!r} in {where}")
        return False

    def check_size(self, image: str, size: tuple[int, int], where: str) -> None:
        """Raise ValueError unless `image` has this (height, width)."""
        height, width = self.images[image]
        if size != (height, width):
            raise ValueError(
                f"{where} is for an image of {size[0]}x{size[1]} pixels (height x width), but the image {image} "
                f"has {height}x{width}; annotate the image at its own size"
            )

    def check_inside(self, image: str, box: Box, where: str) -> None:
        """Count `box` if it is partly outside the image.

        Raises:
            ValueError: if it is wholly outside, or has edges that are no place in an image.

        """
        height, width = self.images[image]
        left, top, right, bottom = box
        if not all(abs(edge) < _LARGEST for edge in box):  # NaN too
            raise ValueError(f"{where} has edges {box}; expected finite numbers of pixels; correct the file")
        if left >= width or top >= height or right <= 0 or bottom <= 0:
            raise ValueError(
                f"{where} lies wholly outside the image {image} of {height}x{width} pixels (height x width): it "
                f"goes from x {left:g} to {right:g} and y {top:g} to {bottom:g}; correct it or remove it"
            )
        if left < 0 or top < 0 or right > width or bottom > height:
            self.skip("clipped to the image", where)

    def add_mask(self, image: str, label: str, mask: Mask, where: str) -> bool:
        """Add a mask (H, W) to a pair, and say so; one of zeros is counted instead."""
        self.check_size(image, (mask.shape[0], mask.shape[1]), where)
        if not mask.any():
            self.skip("empty mask", where)
            return False
        pair = (image, label)
        self.masks[pair] = self.masks[pair] | mask if pair in self.masks else mask
        return True

    def add_box(self, image: str, label: str, box: Box, where: str) -> bool:
        """Add a box to a pair, the pixels whose centre it holds, and say so; an empty one is counted instead."""
        left, top, right, bottom = box
        if right <= left or bottom <= top:
            self.skip("empty box", where)
            return False
        self.check_inside(image, box, where)
        return self.add_mask(image, label, box_mask(box, self.images[image]), where)

    def check_any_left(self) -> None:
        """Raise ValueError, with each reason's count and first case, if no mask was added."""
        if self.masks:
            return
        counts = [f"{reason}: {count} (first {self._first[reason]})" for reason, count in self.skipped.items()]
        raise ValueError(
            f"{self.source} holds no annotation that can be used ({'; '.join(counts) or 'it is empty'}); expected "
            f"images such as {next(iter(self.images), 'none')!r} and classes such as "
            f"{min(self.classes, default='none')!r}; annotate an image of the data folder"
        )
