"""Shapes drawn in labelling tools, as pixels of one (image, class) pair: polygons, ellipses, painted crops."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from looksharp.marks.place import Place
from looksharp.marks.polygons import Point, direction, polygon_mask
from looksharp.marks.union import Mask

__all__ = ["add_crop", "add_ellipse", "add_polygon"]


def add_polygon(points: Sequence[Point], place: Place, holes: Iterable[Sequence[Point]] = ()) -> None:
    """Add a polygon's inside without its holes, as in COCO; one without area is counted instead."""
    mask = polygon_mask([np.asarray(points, dtype=np.float64)], place)
    for hole in holes:
        mask &= ~polygon_mask([np.asarray(hole, dtype=np.float64)], place)
    place.add_mask(mask)


def add_ellipse(centre: Point, radii: Point, place: Place, degrees: float = 0.0) -> None:
    """Add the pixels whose centre lies in an ellipse turned clockwise; one without area is counted instead."""
    (x, y), (across, along), (cosine, sine) = centre, radii, direction(degrees)
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
