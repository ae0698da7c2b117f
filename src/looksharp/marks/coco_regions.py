"""The pixels of one COCO annotation: its polygons or RLE, else its box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from looksharp.marks.documents import shown
from looksharp.marks.place import Place
from looksharp.marks.polygons import polygon_mask, rotated_box
from looksharp.marks.runs import runs_mask, runs_of
from looksharp.marks.union import Box, Mask

__all__ = ["add_region"]


def add_region(entry: Mapping[str, Any], place: Place) -> None:
    """Add the region of an entry of a COCO file's `annotations`.

    Where the segmentation marks no pixel, the box serves. CVAT turns boxes by an attribute, `rotation`.

    Args:
        entry: with `segmentation`, `bbox` or both.
        place: where it belongs.

    Raises:
        ValueError: if the entry marks nothing, is damaged or does not fit the image.

    """
    shape, box = entry.get("segmentation"), _edges(entry.get("bbox"))
    mask: Mask | None = None
    if isinstance(shape, dict):
        mask = _mask_of_rle(shape, place)
    elif shape:
        mask = polygon_mask(_rings(shape, place.where), place)
    if mask is not None and (box is None or mask.any()):
        place.add_mask(mask)
    elif box is not None:
        _add_box(box, entry.get("attributes"), place)
    else:
        raise ValueError(
            f"{place.where} must have a segmentation or a bbox [x, y, w, h], got bbox {shown(entry.get('bbox'))}; "
            f"add one"
        )


def _add_box(box: Box, attributes: Any, place: Place) -> None:
    rotation = attributes.get("rotation") if isinstance(attributes, dict) else None
    degrees = _numbers([rotation], text=True) if rotation else None
    if degrees and degrees[0]:
        place.add_mask(polygon_mask([np.asarray(rotated_box(*box, degrees[0]))], place))
    else:
        place.add_box(*box)


def _numbers(values: Any, text: bool = False) -> list[float] | None:
    """Return a list of numbers as floats, or None if it is none; numbers written as text count if `text`."""
    if not isinstance(values, list):
        return None
    kinds = (int, float, str) if text else (int, float)
    try:
        return [float(value) if type(value) in kinds else float("not a number") for value in values]
    except (ValueError, OverflowError):
        return None


def _mask_of_rle(shape: dict[str, Any], place: Place) -> Mask:
    size, counts, where = shape.get("size"), shape.get("counts"), place.where
    runs = _whole(runs_of(counts, where) if isinstance(counts, str) else counts)
    sides = _whole(size)
    if runs is None or sides is None or len(sides) != 2:
        raise ValueError(
            f"{where} must have RLE with size [height, width] and counts, got {shown(shape, 80)}; export it again"
        )
    height, width = sides
    place.union.check_size(place.image, (height, width), where)
    if sum(runs) != height * width:
        raise ValueError(
            f"{where} has RLE of {sum(runs)} pixels; expected {height * width} for size {size}; export it again"
        )
    return runs_mask(runs, sides)


def _rings(shape: Any, where: str) -> list[NDArray[np.float64]]:
    rings = [_numbers(ring, text=True) for ring in shape] if isinstance(shape, list) else [None]
    if not all(ring is not None and len(ring) % 2 == 0 for ring in rings):
        raise ValueError(
            f"{where} must have polygons [[x1, y1, x2, y2, ...], ...] or RLE as its segmentation, got "
            f"{shown(shape, 80)}; export it again"
        )
    return [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings]


def _edges(box: Any) -> Box | None:
    """Return the edges of a box [x, y, w, h]; None if it is none."""
    values = _numbers(box)
    if values is None or len(values) != 4:
        return None
    left, top, width, height = values
    return left, top, left + width, top + height


def _whole(values: Any) -> list[int] | None:
    """Return a list of whole numbers, none below 0; None if it is no such list."""
    return values if isinstance(values, list) and all(type(v) is int and v >= 0 for v in values) else None
