"""The pixels of one COCO annotation: its polygons or RLE, else its box."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from looksharp.marks.documents import shown
from looksharp.marks.place import Place
from looksharp.marks.polygons import polygon_mask, rotated_box
from looksharp.marks.runs import runs_mask, runs_of
from looksharp.marks.union import Box, Mask
from looksharp.marks.values import Entry, listed, mapping, numbers, text, whole_numbers

__all__ = ["add_region"]


def add_region(entry: Mapping[str, object], place: Place) -> None:
    """Add the region of an entry of a COCO file's `annotations`.

    Where the segmentation marks no pixel, the box serves. CVAT turns boxes by an attribute, `rotation`.

    Args:
        entry: with `segmentation`, `bbox` or both.
        place: its image and class.

    Raises:
        ValueError: if the entry marks nothing, is damaged or does not fit the image.

    """
    shape, box = entry.get("segmentation"), _edges(entry.get("bbox"))
    mask: Mask | None = None
    if mapping(shape):
        mask = _mask_of_rle(mapping(shape), place)
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


def _add_box(box: Box, attributes: object, place: Place) -> None:
    degrees = numbers([mapping(attributes).get("rotation")], as_text=True)
    if degrees and degrees[0]:
        place.add_mask(polygon_mask([np.asarray(rotated_box(*box, degrees[0]))], place))
    else:
        place.add_box(*box)


def _mask_of_rle(shape: Entry, place: Place) -> Mask:
    size, counts, where = shape.get("size"), shape.get("counts"), place.where
    packed = text(counts)
    runs = whole_numbers(counts if packed is None else runs_of(packed, where))
    sides = whole_numbers(size)
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


def _rings(shape: object, where: str) -> list[NDArray[np.float64]]:
    rings = [numbers(ring, as_text=True) for ring in listed(shape) or [None]]
    if not all(ring is not None and len(ring) % 2 == 0 for ring in rings):
        raise ValueError(
            f"{where} must have polygons [[x1, y1, x2, y2, ...], ...] or RLE as its segmentation, got "
            f"{shown(shape, 80)}; export it again"
        )
    return [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings]


def _edges(box: object) -> Box | None:
    """Return the edges of a box [x, y, w, h]; None if it is none."""
    values = numbers(box)
    if values is None or len(values) != 4:
        return None
    left, top, width, height = values
    return left, top, left + width, top + height
