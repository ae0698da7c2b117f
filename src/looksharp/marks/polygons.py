"""The inside of polygons, with holes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from looksharp.marks.place import Place
from looksharp.marks.runs import runs_mask, runs_of
from looksharp.marks.union import Mask

__all__ = ["Point", "direction", "polygon_mask", "rotated_box"]

Point = Sequence[float]
"""x and y in pixels: (0, 0) is the first pixel's outer corner, (0.5, 0.5) its centre."""
_LONGEST = 2e6  # pixels of outline, of which pycocotools makes 10 points each


def polygon_mask(rings: Sequence[NDArray[np.float64]], place: Place) -> Mask:
    """Return the inside of rings (points, 2) of x and y, as pycocotools draws them, but with holes.

    A hole is a ring within another that runs the other way round. All other rings are united. Rings without area
    add nothing.

    Raises:
        ValueError: if a coordinate is not finite, the rings lie outside the image or are too long to be drawn.

    """
    size, where = place.size, place.where
    for ring in rings:
        if not np.isfinite(ring).all():
            bad = ring[~np.isfinite(ring).all(1)][0].tolist()
            raise ValueError(f"{where} has edges at {bad}; expected finite numbers of pixels; correct the file")
    rings = [ring for ring in rings if len(ring) > 2 and (np.ptp(ring, axis=0) > 0).all()]  # has an area
    if not rings:
        return np.zeros(size, dtype=bool)
    (left, top), (right, bottom) = np.concatenate(rings).min(0), np.concatenate(rings).max(0)
    place.union.check_inside(place.image, (float(left), float(top), float(right), float(bottom)), where)
    length = sum(float(np.abs(ring - np.roll(ring, 1, 0)).sum()) for ring in rings)
    if length > _LONGEST:
        raise ValueError(
            f"{where} has an outline of {length:.3g} pixels; at most {_LONGEST:g} can be drawn; correct it"
        )
    drawn = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *size)
    holes = _holes(rings, drawn)
    if not any(holes):
        return runs_mask(runs_of(coco_mask.merge(drawn)["counts"].decode("ascii"), where), size)
    mask = np.zeros(size, dtype=bool)
    for number in np.argsort([-abs(_turning(ring)) for ring in rings], kind="stable"):
        mask[runs_mask(runs_of(drawn[number]["counts"].decode("ascii"), where), size)] = not holes[number]
    return mask


def rotated_box(left: float, top: float, right: float, bottom: float, degrees: float) -> list[Point]:
    """Return the corners of a box turned about its centre, clockwise as seen on the screen."""
    x, y, (cosine, sine) = (left + right) / 2, (top + bottom) / 2, direction(degrees)
    corners = [(left - x, top - y), (right - x, top - y), (right - x, bottom - y), (left - x, bottom - y)]
    return [(x + cosine * dx - sine * dy, y + sine * dx + cosine * dy) for dx, dy in corners]


def direction(degrees: float) -> tuple[float, float]:
    """Return the cosine and sine of an angle; NaN for one that is not finite."""
    radians = math.radians(degrees)
    return (math.cos(radians), math.sin(radians)) if math.isfinite(radians) else (math.nan, math.nan)


def _holes(rings: Sequence[NDArray[np.float64]], drawn: list[dict[str, Any]]) -> list[bool]:
    """Mark each ring that is a hole: the smallest ring around it is none and runs the other way round."""
    turning = [_turning(ring) for ring in rings]
    holes = [False] * len(rings)
    if min(turning) >= 0 or max(turning) <= 0:
        return holes
    done: list[int] = []
    for number in sorted(range(len(rings)), key=lambda number: -abs(turning[number])):
        around = [other for other in reversed(done) if _contains(drawn[other], drawn[number])]
        if around:
            holes[number] = not holes[around[0]] and turning[around[0]] * turning[number] < 0
        done.append(number)
    return holes


def _contains(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    return bool(coco_mask.area(coco_mask.merge([outer, inner], intersect=True)) == coco_mask.area(inner))


def _turning(ring: NDArray[np.float64]) -> float:
    """Return twice the area, above 0 if the ring runs clockwise as seen on the screen."""
    following = np.roll(ring, -1, 0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())
