"""Shapes drawn in labelling tools, as pixels of one (image, class) pair: polygons, ellipses, painted crops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from looksharp.marks.coco_regions import polygon_mask
from looksharp.marks.place import Place
from looksharp.marks.union import Mask

__all__ = ["Point", "add_crop", "add_ellipse", "add_polygon", "rotated_box", "row_runs"]

Point = Sequence[float]
"""x and y in pixels: (0, 0) is the first pixel's outer corner, (0.5, 0.5) its centre."""
_MOST = 1 << 28
"""Pixels that a painted part may have; an image of 16,000 x 16,000."""


def add_polygon(points: Sequence[Point], place: Place, holes: Iterable[Sequence[Point]] = ()) -> None:
    """Add a polygon's inside without its holes, as in COCO; one without area is counted instead."""
    mask = polygon_mask([np.asarray(points, dtype=np.float64)], place.image, place.union, place.where)
    for hole in holes:
        mask &= ~polygon_mask([np.asarray(hole, dtype=np.float64)], place.image, place.union, place.where)
    place.add_mask(mask)


def rotated_box(left: float, top: float, right: float, bottom: float, degrees: float) -> list[Point]:
    """Return the corners of a box turned about its centre, clockwise as seen on the screen."""
    x, y, (cosine, sine) = (left + right) / 2, (top + bottom) / 2, _direction(degrees)
    corners = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)]
    return [(x + cosine * dx - sine * dy, y + sine * dx + cosine * dy) for dx, dy in corners]


def add_ellipse(centre: Point, radii: Point, place: Place, degrees: float = 0.0) -> None:
    """Add the pixels whose centre lies in an ellipse turned clockwise; one without area is counted instead."""
    (x, y), (across, along), (cosine, sine) = centre, radii, _direction(degrees)
    if min(across, along) <= 0:
        place.union.skip("empty mask", place.where)
        return
    wide, high = math.hypot(across * cosine, along * sine), math.hypot(across * sine, along * cosine)
    place.union.check_inside(place.image, (x - wide, y - high, x + wide, y + high), place.where)
    height, width = place.size
    dx, dy = np.arange(width) + 0.5 - x, (np.arange(height) + 0.5 - y)[:, None]
    place.add_mask(((cosine * dx + sine * dy) / across) ** 2 + ((cosine * dy - sine * dx) / along) ** 2 <= 1)


def add_crop(crop: Mask, left: int, top: int, place: Place) -> None:
    """Add a painted part of an image (h, w) whose first pixel lies at (top, left)."""
    height, width = place.size
    right, bottom = left + crop.shape[1], top + crop.shape[0]
    place.union.check_inside(place.image, (left, top, right, bottom), place.where)
    mask = np.zeros((height, width), dtype=bool)
    part = crop[max(-top, 0) : height - top, max(-left, 0) : width - left]
    mask[max(top, 0) :, max(left, 0) :][: part.shape[0], : part.shape[1]] = part
    place.add_mask(mask)


def row_runs(runs: Sequence[int], height: int, width: int, where: str) -> Mask:
    """Return a mask (height, width) of runs of zeros and ones in turn, along the rows.

    Raises:
        ValueError: if the runs are not of height * width pixels, or these are more than 2^28.
    """
    if not 0 < height * width <= _MOST or min(height, width) <= 0:
        raise ValueError(
            f"{where} is a mask of {width:g} x {height:g} pixels; expected 1 to {_MOST:,} of them; export it again"
        )
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        raise ValueError(f"{where} must have an rle of {width} x {height} pixels; got {sum(runs)}; export it again")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)


def _direction(degrees: float) -> tuple[float, float]:
    radians = math.radians(degrees)
    return (math.cos(radians), math.sin(radians)) if math.isfinite(radians) else (math.nan, math.nan)
