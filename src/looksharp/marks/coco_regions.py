"""The pixels of one COCO annotation: its polygons or RLE, else its box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from looksharp.marks.documents import shown
from looksharp.marks.union import Box, Mask, MaskUnion

__all__ = ["add_region", "numbers", "polygon_mask", "runs_mask"]

_LONGEST = 2e6  # pixels of outline, of which pycocotools makes 10 points each
_SHIFT = 60  # bits; a run of more is no number of pixels


def add_region(entry: dict[str, Any], image: str, label: str, union: MaskUnion, where: str) -> None:
    """Add the region of an entry of a COCO file's `annotations` to a pair of `union`.

    Where the segmentation marks no pixel, the box serves.

    Args:
        entry: with `segmentation`, `bbox` or both.
        image: the image's path.
        label: the class's name.
        union: what the region is added to.
        where: starts messages.

    Raises:
        ValueError: if the entry marks nothing, is damaged or does not fit the image.

    """
    shape, box = entry.get("segmentation"), _edges(entry.get("bbox"))
    mask: Mask | None = None
    if isinstance(shape, dict):
        mask = _mask_of_rle(shape, image, union, where)
    elif shape:
        mask = polygon_mask(_rings(shape, where), image, union, where)
    if mask is not None and (box is None or mask.any()):
        union.add_mask(image, label, mask, where)
    elif box is not None:
        union.add_box(image, label, box, where)
    else:
        raise ValueError(
            f"{where} must have a segmentation or a bbox [x, y, w, h], got bbox {shown(entry.get('bbox'))}; add one"
        )


def numbers(values: Any, text: bool = False) -> list[float] | None:
    """Return a list of numbers as floats, or None if it is none; numbers written as text count if `text`."""
    if not isinstance(values, list):
        return None
    kinds = (int, float, str) if text else (int, float)
    try:
        return [float(value) if type(value) in kinds else float("not a number") for value in values]
    except (ValueError, OverflowError):
        return None


def runs_mask(runs: Sequence[int], size: Sequence[int]) -> Mask:
    """Return the mask (H, W) of runs of zeros and ones in turn, down the columns.

    Not by pycocotools, whose `decode` shows foreign memory where the runs end before the image does, and warns
    with numpy 2.
    """
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(size[1], size[0]).T


def polygon_mask(rings: Sequence[NDArray[np.float64]], image: str, union: MaskUnion, where: str) -> Mask:
    """Return the inside of rings (points, 2) of x and y, as pycocotools draws them, but with holes.

    A hole is a ring within another that runs the other way round. All other rings are united. Rings without area
    add nothing.

    Raises:
        ValueError: if a coordinate is not finite, the rings lie outside the image or are too long to be drawn.

    """
    size = union.size(image)
    for ring in rings:
        if not np.isfinite(ring).all():
            bad = ring[~np.isfinite(ring).all(1)][0].tolist()
            raise ValueError(f"{where} has edges at {bad}; expected finite numbers of pixels; correct the file")
    rings = [ring for ring in rings if len(ring) > 2 and (np.ptp(ring, axis=0) > 0).all()]  # has an area
    if not rings:
        return np.zeros(size, dtype=bool)
    (left, top), (right, bottom) = np.concatenate(rings).min(0), np.concatenate(rings).max(0)
    union.check_inside(image, (float(left), float(top), float(right), float(bottom)), where)
    length = sum(float(np.abs(ring - np.roll(ring, 1, 0)).sum()) for ring in rings)
    if length > _LONGEST:
        raise ValueError(
            f"{where} has an outline of {length:.3g} pixels; at most {_LONGEST:g} can be drawn; correct it"
        )
    drawn = coco_mask.frPyObjects([ring.ravel().tolist() for ring in rings], *size)
    holes = _holes(rings, drawn)
    if not any(holes):
        return runs_mask(_runs(coco_mask.merge(drawn)["counts"].decode("ascii"), where), size)
    mask = np.zeros(size, dtype=bool)
    for place in np.argsort([-abs(_turning(ring)) for ring in rings], kind="stable"):
        mask[runs_mask(_runs(drawn[place]["counts"].decode("ascii"), where), size)] = not holes[place]
    return mask


def _holes(rings: Sequence[NDArray[np.float64]], drawn: list[dict[str, Any]]) -> list[bool]:
    """Whether each ring is a hole: the smallest ring around it is none and runs the other way round."""
    turning = [_turning(ring) for ring in rings]
    holes = [False] * len(rings)
    if min(turning) >= 0 or max(turning) <= 0:
        return holes
    done: list[int] = []
    for place in sorted(range(len(rings)), key=lambda place: -abs(turning[place])):
        around = [other for other in reversed(done) if _contains(drawn[other], drawn[place])]
        if around:
            holes[place] = not holes[around[0]] and turning[around[0]] * turning[place] < 0
        done.append(place)
    return holes


def _contains(outer: dict[str, Any], inner: dict[str, Any]) -> bool:
    return bool(coco_mask.area(coco_mask.merge([outer, inner], intersect=True)) == coco_mask.area(inner))


def _turning(ring: NDArray[np.float64]) -> float:
    """Twice the area, above 0 if the ring runs clockwise as seen on the screen."""
    following = np.roll(ring, -1, 0)
    return float((ring[:, 0] * following[:, 1] - following[:, 0] * ring[:, 1]).sum())


def _mask_of_rle(shape: dict[str, Any], image: str, union: MaskUnion, where: str) -> Mask:
    size, counts = shape.get("size"), shape.get("counts")
    runs = _whole(_runs(counts, where) if isinstance(counts, str) else counts)
    sides = _whole(size)
    if runs is None or sides is None or len(sides) != 2:
        raise ValueError(
            f"{where} must have RLE with size [height, width] and counts, got {shown(shape, 80)}; export it again"
        )
    height, width = sides
    union.check_size(image, (height, width), where)
    if sum(runs) != height * width:
        raise ValueError(
            f"{where} has RLE of {sum(runs)} pixels; expected {height * width} for size {size}; export it again"
        )
    return runs_mask(runs, sides)


def _runs(counts: str, where: str) -> list[int]:
    """Return the run lengths in compressed RLE.

    A character holds 5 bits, the lowest first; its sixth bit says that more follow.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if shift > _SHIFT:
            raise ValueError(
                f"{where} must have RLE with size [height, width] and counts, but a run of its counts "
                f"has no end; export it again"
            )
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # the last character's highest bit is the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))  # written as a change from two runs before
            value = shift = 0
    return runs


def _rings(shape: Any, where: str) -> list[NDArray[np.float64]]:
    rings = [numbers(ring, text=True) for ring in shape] if isinstance(shape, list) else [None]
    if not all(ring is not None and len(ring) % 2 == 0 for ring in rings):
        raise ValueError(
            f"{where} must have polygons [[x1, y1, x2, y2, ...], ...] or RLE as its segmentation, got "
            f"{shown(shape, 80)}; export it again"
        )
    return [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for ring in rings]


def _edges(box: Any) -> Box | None:
    """Return the edges of a box [x, y, w, h]; None if it is none."""
    values = numbers(box)
    if values is None or len(values) != 4:
        return None
    left, top, width, height = values
    return left, top, left + width, top + height


def _whole(values: Any) -> list[int] | None:
    """Return a list of whole numbers, none below 0; None if it is no such list."""
    return values if isinstance(values, list) and all(type(v) is int and v >= 0 for v in values) else None
