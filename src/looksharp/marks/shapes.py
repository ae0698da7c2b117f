"""What people draw in annotation tools, as pixels of one (image, class) pair: polygons, ellipses, painted crops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from looksharp.marks.coco_regions import add_region
from looksharp.marks.union import Mask, MaskUnion

__all__ = ["Point", "add_crop", "add_ellipse", "add_polygon", "rotated_box"]

Point = Sequence[float]
"""x and y in pixels: (0, 0) is the first pixel's outer corner, (0.5, 0.5) its centre."""


def add_polygon(points: Sequence[Point], image: str, label: str, union: MaskUnion, where: str) -> None:
    """Add a polygon's inside, as in COCO; one without area is counted instead."""
    ring = [float(value) for x, y in points for value in (x, y)]
    add_region({"segmentation": [ring]}, image, label, union, where)


def rotated_box(left: float, top: float, right: float, bottom: float, degrees: float) -> list[Point]:
    """The corners of a box turned about its centre, clockwise as seen on the screen."""
    x, y, cosine, sine = (left + right) / 2, (top + bottom) / 2, *_direction(degrees)
    corners = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)]
    return [(x + cosine * dx - sine * dy, y + sine * dx + cosine * dy) for dx, dy in corners]


def add_ellipse(
    centre: Point, radii: Point, image: str, label: str, union: MaskUnion, where: str, degrees: float = 0.0
) -> None:
    """Add the pixels whose centre lies in an ellipse turned clockwise; one without area is counted instead."""
    (x, y), (across, along), (cosine, sine) = centre, radii, _direction(degrees)
    if min(across, along) <= 0:
        union.skip("empty mask", where)
        return
    wide, high = math.hypot(across * cosine, along * sine), math.hypot(across * sine, along * cosine)
    union.check_inside(image, (x - wide, y - high, x + wide, y + high), where)
    height, width = union.images[image]
    dx, dy = np.arange(width) + 0.5 - x, (np.arange(height) + 0.5 - y)[:, None]
    inside = ((cosine * dx + sine * dy) / across) ** 2 + ((cosine * dy - sine * dx) / along) ** 2 <= 1
    union.add_mask(image, label, inside, where)


def add_crop(crop: Mask, left: int, top: int, image: str, label: str, union: MaskUnion, where: str) -> None:
    """Add a painted part of an image (h, w) whose first pixel lies at (top, left)."""
    height, width = union.images[image]
    union.check_inside(image, (left, top, left + crop.shape[1], top + crop.shape[0]), where)
    mask = np.zeros((height, width), dtype=bool)
    part = crop[max(-top, 0) : height - top, max(-left, 0) : width - left]
    mask[max(top, 0) :, max(left, 0) :][: part.shape[0], : part.shape[1]] = part
    union.add_mask(image, label, mask, where)


def _direction(degrees: float) -> tuple[float, float]:
    return math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
