"""Regions gathered into one mask per (image, class) pair, with counts of those left out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from looksharp.images.orientation import swaps_sides
from looksharp.marks.orientation import upright

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
    """Return the pixels whose centre a box holds, in an image of `size` (height, width)."""
    left, top, right, bottom = box
    rows, columns = (
        slice(max(math.ceil(low - 0.5), 0), max(math.ceil(high - 0.5), 0))
        for low, high in ((top, bottom), (left, right))
    )
    mask = np.zeros(size, dtype=bool)
    mask[rows, columns] = True
    return mask


class MaskUnion:
    """Regions of a mark file, united per (image, class) pair in the order of first mention.

    Args:
        source: the file or folder, for messages.
        images: the (height, width) of every image, upright; read for marked images only.
        classes: class names.
        orientations: image -> EXIF orientation of its file, 1 to 8; upright where not given.
        stored: True if marks are in coordinates of the pixels as stored, before EXIF turns them; masks are turned.
        crowds: True if COCO's crowds (`iscrowd`) are marks too.

    Attributes:
        masks: the union of the regions added for a pair, (H, W) bool, upright.
        skipped: number of regions or files left out, or used with a warning, for each `Reason`.

    """

    def __init__(
        self,
        source: Path,
        images: Mapping[str, tuple[int, int]],
        classes: Iterable[str],
        *,
        orientations: Mapping[str, int] | None = None,
        stored: bool = False,
        crowds: bool = False,
    ) -> None:
        self.source = source
        self.images = images
        self.classes = frozenset(classes)
        self.crowds = crowds
        self.masks: dict[tuple[str, str], Mask] = {}
        self.skipped: Counter[Reason] = Counter()
        self._orientations, self._stored = orientations or {}, stored
        self._first: dict[Reason, str] = {}

    def size(self, image: str) -> tuple[int, int]:
        """Return the (height, width) of an image in the coordinates of the marks."""
        height, width = self.images[image]
        return (width, height) if self._stored and self._turns(image) else (height, width)

    def skip(self, reason: Reason, what: str) -> None:
        """Count `what` under `reason`."""
        self.skipped[reason] += 1
        self._first.setdefault(reason, what)

    def knows(self, label: str, where: str) -> bool:
        """Return whether `label` is a class; count it if not."""
        if label in self.classes:
            return True
        self.skip("class not in the data", f"{label!r} in {where}")
        return False

    def check_size(self, image: str, size: tuple[object, object], where: str) -> None:
        """Raise ValueError unless `image` has this (height, width), which may be whatever stood in a file."""
        height, width = self.size(image)
        if tuple(size) == (height, width):
            return
        if tuple(size) == (width, height) and self._turns(image):
            mend = "leave out --marks_orientation stored" if self._stored else "give --marks_orientation stored"
            turned = "upright" if self._stored else "as stored, before its EXIF orientation turns it"
            mend = f"that is the image {turned}: {mend}"
        else:
            mend = "mark the image at its own size"
        raise ValueError(
            f"{where} is for an image of {_side(size[0])}x{_side(size[1])} pixels (height x width), but the image "
            f"{image} has {height}x{width}; {mend}"
        )

    def check_inside(self, image: str, box: Box, where: str) -> None:
        """Count `box` if it is partly outside the image.

        Raises:
            ValueError: if it is wholly outside, or has edges that are no place in an image.

        """
        height, width = self.size(image)
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
        if self._stored:
            mask = np.ascontiguousarray(upright(mask, self._orientations.get(image, 1)))
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
        return self.add_mask(image, label, box_mask(box, self.size(image)), where)

    def check_any_left(self) -> None:
        """Raise ValueError, with each reason's count and first case, if no mask was added."""
        if self.masks:
            return
        counts = [f"{reason}: {count} (first {self._first[reason]})" for reason, count in self.skipped.items()]
        raise ValueError(
            f"{self.source} holds no mark that can be used ({'; '.join(counts) or 'it is empty'}); expected "
            f"images such as {next(iter(self.images), 'none')!r} and classes such as "
            f"{min(self.classes, default='none')!r}; mark an image of the data folder"
        )

    def _turns(self, image: str) -> bool:
        return swaps_sides(self._orientations.get(image, 1))


def _side(side: object) -> str:
    return f"{side:g}" if isinstance(side, int | float) and not abs(side) > 1e15 else f"{side!r:.20}"
