"""One stroke of a drawing tool, and the region that COCO writes for it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge

from looksharp.marks.union import Mask, box_mask
from looksharp.marks.values import Entry
from looksharp.marks.writing import mask_region
from looksharp.settings import SettingError, settings

__all__ = ["Stroke", "painted", "stroke_region"]

Tool = Literal["rectangle", "polygon", "brush"]
_FEWEST = {"rectangle": 2, "polygon": 3, "brush": 1}
_MOST = 20_000  # points of one stroke, which comes from a browser
_FARTHEST = 1e6  # pixels


@settings
class Stroke:
    """Hold what a person drew in one go, in pixels of the upright image: (0, 0) is the first pixel's outer corner.

    Args:
        tool: rectangle, of two opposite corners; polygon, of its corners; or brush, of a path.
        points: (x, y) of each.
        radius: the brush's, in pixels.
    """

    tool: Tool
    points: tuple[tuple[float, float], ...]
    radius: Annotated[float, Ge(0)] = 0.0

    def __post_init__(self) -> None:
        if not _FEWEST[self.tool] <= len(self.points) <= _MOST:
            raise SettingError(f"a {self.tool} has {_FEWEST[self.tool]} to {_MOST:,} points; got {len(self.points)}")
        if max(self.radius, *(abs(value) for point in self.points for value in point)) > _FARTHEST:
            raise SettingError(f"points and radius of a {self.tool} are at most {_FARTHEST:,.0f} pixels from 0")


def stroke_region(stroke: Stroke, size: tuple[int, int]) -> Entry:
    """Return what a COCO annotation says of a stroke's place: its box, and its polygon or run lengths.

    A rectangle is cut at the image's edge. Of a polygon the whole is written, and readers cut it.

    Args:
        stroke: the stroke.
        size: the image's (height, width), upright.

    Raises:
        ValueError: if a rectangle or brush holds no pixel's centre.

    Example:
        >>> stroke_region(Stroke("rectangle", ((6.0, 1.0), (2.0, 3.0))), (10, 10))
        {'segmentation': [], 'bbox': [2.0, 1.0, 4.0, 2.0], 'area': 8.0, 'iscrowd': 0}

    """
    if stroke.tool == "brush":
        return mask_region(_filled(painted(stroke, size), stroke))
    height, width = size
    columns, rows = ([point[axis] for point in stroke.points] for axis in (0, 1))
    left, right = (min(max(edge, 0.0), float(width)) for edge in (min(columns), max(columns)))
    top, bottom = (min(max(edge, 0.0), float(height)) for edge in (min(rows), max(rows)))
    box = [left, top, right - left, bottom - top]
    if stroke.tool == "rectangle":
        _filled(box_mask((left, top, right, bottom), size), stroke)
        return {"segmentation": [], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
    outline = [coordinate for point in stroke.points for coordinate in point]
    return {"segmentation": [outline], "bbox": box, "area": box[2] * box[3], "iscrowd": 0}


def painted(stroke: Stroke, size: tuple[int, int]) -> Mask:
    """Return the pixels (H, W) whose centre lies within the radius of a path."""
    height, width = size
    mask = np.zeros(size, dtype=bool)
    reach = max(stroke.radius, 0.5)
    points = np.asarray(stroke.points, dtype=np.float64)
    for start, end in zip(points, points[1:] if len(points) > 1 else points, strict=False):
        (left, top), (right, bottom) = np.minimum(start, end) - reach, np.maximum(start, end) + reach
        across = slice(max(math.floor(left), 0), max(min(math.ceil(right), width), 0))
        down = slice(max(math.floor(top), 0), max(min(math.ceil(bottom), height), 0))
        x = np.arange(across.start, max(across.stop, across.start)) + 0.5 - start[0]
        y = (np.arange(down.start, max(down.stop, down.start)) + 0.5 - start[1])[:, None]
        dx, dy = end - start
        length = dx * dx + dy * dy
        along = np.clip((x * dx + y * dy) / length, 0, 1) if length else np.zeros((len(y), len(x)))
        mask[down, across] |= (x - along * dx) ** 2 + (y - along * dy) ** 2 <= reach**2
    return mask


def _filled(mask: Mask, stroke: Stroke) -> Mask:
    if not mask.any():
        raise ValueError(f"the {stroke.tool} holds no pixel of the image: draw a larger one, inside it")
    return mask
