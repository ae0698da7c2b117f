"""LabelMe: a JSON file for each image with the shapes that were drawn on it."""

from __future__ import annotations

import base64
import binascii
import io
import math
from pathlib import Path, PurePosixPath

from looksharp.marks.documents import read_json, shown
from looksharp.marks.label_files import LabelFiles
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.mask_images import load_pixels
from looksharp.marks.place import Place
from looksharp.marks.polygons import Point
from looksharp.marks.shapes import add_crop, add_ellipse, add_polygon
from looksharp.marks.union import Mask, MaskUnion
from looksharp.marks.values import Entry, listed, mapping, points, text

__all__ = ["LabelMe"]

_POINTS = {"polygon": 3, "rectangle": 2, "oriented_rectangle": 4, "rotation": 4, "circle": 2, "mask": 2}
_NO_AREA = ("line", "linestrip", "point", "points")


@MARK_FORMATS.register("labelme")
class LabelMe(MarkFormat):
    """LabelMe's files, one or all .json files in a folder and below it.

    Polygons, rectangles (turned ones too), circles and masks; lines and points have no area and are counted. The
    image is the one that `imagePath` names, or, where only one image fits, of that name; an image embedded in the
    file (`imageData`) is not read.
    """

    takes = "a LabelMe .json file or a folder of them"

    def matches(self, path: Path) -> bool:
        """Match a .json file with two names that LabelMe's files have, and a folder whose first .json file has."""
        file = next(iter(sorted(path.rglob("*.json"))), None) if path.is_dir() else path
        if file is None or not file.is_file() or file.suffix.lower() != ".json":
            return False
        content = file.read_bytes()
        return b'"shapes"' in content and b'"imagePath"' in content

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add LabelMe's files to `union`.

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
                label = text(mapping(shape).get("label"))
                if label is None:
                    raise ValueError(f"{where} must have a label and points; got {shown(shape)}; save it again")
                if union.knows(label, where):
                    _add(shape, Place(union, image, label, where))


def _add(shape: Entry, place: Place) -> None:
    kind = text(shape.get("shape_type") or "polygon") or "nothing known"  # old files have no type
    if kind in _NO_AREA:
        place.union.skip("empty mask", place.where)
        return
    drawn = _points(shape, kind, place.where)
    if kind == "mask":
        left, top = (int(value) if math.isfinite(value) else 1 << 40 for value in drawn[0])
        add_crop(_crop(shape, place.where), left, top, place)
    elif kind == "circle":
        radius = math.dist(*drawn)
        add_ellipse(drawn[0], (radius, radius), place)
    elif kind == "rectangle" and len(drawn) == 2:
        (left_x, right_x), (top_y, bottom_y) = (sorted(values) for values in zip(*drawn, strict=True))
        place.add_box(left_x, top_y, right_x, bottom_y)
    else:
        add_polygon(drawn, place)


def _points(shape: Entry, kind: str, where: str) -> list[Point]:
    if kind not in _POINTS:
        raise ValueError(f"{where} has the type {kind!r}; expected {', '.join((*_POINTS, *_NO_AREA))}; draw it as one")
    found, least, exact = points(shape.get("points")), _POINTS[kind], kind in ("circle", "mask")
    if found is None or len(found) < least or (exact and len(found) != least):
        raise ValueError(
            f"{where} must have {least}{'' if exact else ' or more'} points [x, y] for a {kind}; got "
            f"{shown(shape.get('points'))}; save it again"
        )
    return found


def _crop(shape: Entry, where: str) -> Mask:
    """Return a painted shape's pixels, an image file in base64."""
    try:
        content = base64.b64decode(shape.get("mask") or "", validate=True)
        _, pixels = load_pixels("it", io.BytesIO(content))
    except (ValueError, TypeError, binascii.Error):
        raise ValueError(f"{where} must have a mask, a PNG in base64, but it cannot be read; save it again") from None
    return (pixels if pixels.ndim == 2 else pixels[..., :3].max(-1)) > 0


def _content(file: Path) -> Entry:
    content = mapping(read_json(file, "a LabelMe file", "save it again"))
    if listed(content.get("shapes")) is None or text(content.get("imagePath")) is None:
        raise ValueError(f"{file} is not a LabelMe file: expected 'shapes' and 'imagePath'; take it out of the folder")
    return content
