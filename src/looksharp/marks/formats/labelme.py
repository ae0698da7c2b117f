"""LabelMe: a JSON file for each image with the shapes that were drawn on it."""

from __future__ import annotations

import base64
import binascii
import io
import json
import math
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

import numpy as np
from PIL import Image

from looksharp.marks.label_files import LabelFiles
from looksharp.marks.shapes import Point, add_crop, add_ellipse, add_polygon
from looksharp.marks.union import Mask, MaskUnion

__all__ = ["is_labelme", "read_labelme"]

_POINTS = {"polygon": 3, "rectangle": 2, "oriented_rectangle": 4, "rotation": 4, "circle": 2, "mask": 2}
_NO_AREA = ("line", "linestrip", "point", "points")


def is_labelme(file: Path) -> bool:
    """Whether a JSON file is LabelMe's, by two names that its files have."""
    content = file.read_bytes()
    return b'"shapes"' in content and b'"imagePath"' in content


def read_labelme(path: Path, union: MaskUnion) -> None:
    """Add LabelMe's files to `union`, one file or all .json files in a folder and below it.

    Polygons, rectangles (turned ones too), circles and masks; lines and points have no area and are counted. The
    image is the one that `imagePath` names, or, where only one image fits, of that name.

    Raises:
        ValueError: if a file is not LabelMe's or is damaged, or a shape does not fit its image.

    """
    images = LabelFiles(union)
    for file in [path] if path.is_file() else sorted(path.rglob("*.json")):
        content = _content(file)
        folder = PurePosixPath() if path.is_file() else PurePosixPath(file.parent.relative_to(path).as_posix())
        image = images.find(f"{folder}/{content['imagePath']}", file)
        if image is None:
            continue
        if content.get("imageHeight") and content.get("imageWidth"):
            union.check_size(image, (content["imageHeight"], content["imageWidth"]), str(file))
        for number, shape in enumerate(content["shapes"], 1):
            where = f"{file}: shape {number}"
            if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
                raise ValueError(f"{where} must have a label and points; got {str(shape)[:60]}; save it again")
            if union.knows(shape["label"], where):
                _add(shape, image, union, where)


def _add(shape: dict[str, Any], image: str, union: MaskUnion, where: str) -> None:
    kind, label = shape.get("shape_type") or "polygon", shape["label"]  # old files have no type
    if kind in _NO_AREA:
        union.skip("empty mask", where)
        return
    points = _points(shape, kind, where)
    if kind == "mask":
        add_crop(_crop(shape, where), int(points[0][0]), int(points[0][1]), image, label, union, where)
    elif kind == "circle":
        radius = math.dist(*points)
        add_ellipse(points[0], (radius, radius), image, label, union, where)
    elif kind == "rectangle" and len(points) == 2:
        (left, right), (top, bottom) = (sorted(values) for values in zip(*points, strict=True))
        union.add_box(image, label, (left, top, right, bottom), where)
    else:
        add_polygon(points, image, label, union, where)


def _points(shape: dict[str, Any], kind: str, where: str) -> list[Point]:
    if kind not in _POINTS:
        raise ValueError(f"{where} has the type {kind!r}; expected {', '.join((*_POINTS, *_NO_AREA))}; draw it as one")
    points, least, exact = shape.get("points"), _POINTS[kind], kind in ("circle", "mask")
    if not _are_points(points) or len(points) < least or (exact and len(points) != least):
        raise ValueError(
            f"{where} must have {least}{'' if exact else ' or more'} points [x, y] for a {kind}; got "
            f"{str(points)[:60]}; save it again"
        )
    return points


def _are_points(points: Any) -> TypeGuard[list[Point]]:
    return isinstance(points, list) and all(
        isinstance(point, list) and len(point) == 2 and all(isinstance(value, int | float) for value in point)
        for point in points
    )


def _crop(shape: dict[str, Any], where: str) -> Mask:
    """A painted shape's pixels, an image file in base64."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or "", validate=True))) as picture:
            return np.asarray(picture.convert("L")) > 0
    except (OSError, SyntaxError, TypeError, binascii.Error):
        raise ValueError(f"{where} must have a mask, a PNG in base64, but it cannot be read; save it again") from None


def _content(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as exc:
        raise ValueError(f"{file} is not JSON: {exc}; expected a LabelMe file; save it again") from exc
    if (
        not isinstance(content, dict)
        or not isinstance(content.get("shapes"), list)
        or not isinstance(content.get("imagePath"), str)
    ):
        raise ValueError(f"{file} is not a LabelMe file: expected 'shapes' and 'imagePath'; take it out of the folder")
    return content
