"""The pixels of one COCO annotation: its polygons or RLE, else its box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np
from pycocotools import mask as coco_mask

from looksharp.marks.union import Mask, MaskUnion

__all__ = ["add_region"]


def add_region(entry: dict[str, Any], image: str, label: str, union: MaskUnion, where: str) -> None:
    """Add what an entry of a COCO file's `annotations` marks to a pair of `union`; `where` starts messages.

    Raises:
        ValueError: if the entry marks nothing, is damaged or does not fit the image.

    """
    shape, box = entry.get("segmentation"), entry.get("bbox")
    if isinstance(shape, dict):
        union.add_mask(image, label, _mask_of_rle(shape, image, union, where), where)
    elif shape:
        union.add_mask(image, label, _mask_of_polygons(shape, image, union, where), where)
    elif _are_numbers(box) and len(box) == 4:
        left, top, width, height = box
        union.add_box(image, label, (left, top, left + width, top + height), where)
    else:
        raise ValueError(f"{where} must have a segmentation or a bbox [x, y, w, h], got bbox {box}; add one")


def _mask_of_rle(shape: dict[str, Any], image: str, union: MaskUnion, where: str) -> Mask:
    size, counts = shape.get("size"), shape.get("counts")
    runs: Any = _runs(counts) if isinstance(counts, str) else counts
    if not (_are_numbers(size, int) and len(size) == 2 and _are_numbers(runs, int) and min(*size, *runs, 0) == 0):
        raise ValueError(
            f"{where} must have RLE with size [height, width] and counts, got {str(shape)[:80]}; export it again"
        )
    height, width = size
    union.check_size(image, (height, width), where)
    if sum(runs) != height * width:
        raise ValueError(
            f"{where} has RLE of {sum(runs)} pixels; expected {height * width} for size {size}; export it again"
        )
    return _decode(runs, size)


def _decode(runs: list[int], size: Sequence[int]) -> Mask:
    """The mask (H, W) of runs of zeros and ones in turn, down the columns.

    Not by pycocotools, whose `decode` shows foreign memory where the runs end before the image does, and warns
    with numpy 2.
    """
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(size[1], size[0]).T


def _runs(counts: str) -> list[int]:
    """The run lengths in compressed RLE: 5 bits a character, the lowest first, the sixth says that more follow."""
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # the last character's highest bit is the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))  # written as a change from two runs before
            value = shift = 0
    return runs


def _mask_of_polygons(shape: Any, image: str, union: MaskUnion, where: str) -> Mask:
    if not isinstance(shape, list) or not all(_are_numbers(ring) and len(ring) % 2 == 0 for ring in shape):
        raise ValueError(
            f"{where} must have polygons [[x1, y1, x2, y2, ...], ...] or RLE as its segmentation, got "
            f"{str(shape)[:80]}; export it again"
        )
    points = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in shape]  # (points, 2)
    points = [ring for ring in points if len(ring) > 2 and (np.ptp(ring, axis=0) > 0).all()]  # has an area
    if not points:
        return np.zeros(union.images[image], dtype=bool)
    (left, top), (right, bottom) = np.concatenate(points).min(0), np.concatenate(points).max(0)
    union.check_inside(image, (float(left), float(top), float(right), float(bottom)), where)
    size = union.images[image]
    rings = coco_mask.frPyObjects([ring.ravel().tolist() for ring in points], *size)
    return _decode(_runs(coco_mask.merge(rings)["counts"].decode("ascii")), size)


def _are_numbers(values: Any, kind: Any = int | float) -> TypeGuard[list[Any]]:
    return isinstance(values, list) and all(isinstance(value, kind) and not isinstance(value, bool) for value in values)
