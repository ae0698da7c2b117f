"""Supervisely: a JSON file for each image in a folder called ann, with the objects drawn on it."""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from looksharp.marks.documents import read_json, shown
from looksharp.marks.label_files import LabelFiles
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.mask_images import load_pixels
from looksharp.marks.place import Place
from looksharp.marks.polygons import Point
from looksharp.marks.shapes import add_crop, add_polygon
from looksharp.marks.union import Mask, MaskUnion

__all__ = ["Supervisely"]

_LARGEST = 1 << 28  # bytes of a bitmap, unpacked
_NO_AREA = ("point", "line", "graph", "cuboid", "cuboid_3d", "any")


@MARK_FORMATS.register("supervisely")
class Supervisely(MarkFormat):
    """A Supervisely project or data set: rectangles, polygons with holes, and bitmaps.

    The image of train/ann/0001.jpg.json is train/0001.jpg or, where only one image fits, 0001.jpg. Points, lines and
    graphs of keypoints are refused.
    """

    takes = "a Supervisely folder"

    def matches(self, path: Path) -> bool:
        """Match a folder with .json files in folders called ann, of which the first lists objects."""
        files = _files(path) if path.is_dir() else []
        return bool(files) and b'"objects"' in files[0].read_bytes()

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add a Supervisely folder to `union`.

        Raises:
            ValueError: if a file is damaged, or an object does not fit its image.
        """
        images = LabelFiles(union)
        for file in _files(path):
            content = read_json(file, "a Supervisely annotation")
            objects = content.get("objects") if isinstance(content, dict) else None
            if not isinstance(objects, list):
                raise ValueError(f"{file} must have a list of objects; export it again")
            reference = PurePosixPath(*(part for part in file.relative_to(path).parts if part != "ann"))
            image = images.find(reference.with_suffix("").as_posix(), file)
            if image is None:
                continue
            size = content.get("size")
            if isinstance(size, dict):
                union.check_size(image, (size.get("height", 0), size.get("width", 0)), str(file))
            for number, entry in enumerate(objects, 1):
                where = f"{file}: object {number}"
                if not isinstance(entry, dict) or not isinstance(entry.get("classTitle"), str):
                    raise ValueError(f"{where} must have a classTitle; export it again")
                if union.knows(entry["classTitle"], where):
                    _add(entry, Place(union, image, entry["classTitle"], where))


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("ann/*.json") if file.is_file())


def _add(entry: dict[str, Any], place: Place) -> None:
    kind = entry.get("geometryType")
    if kind == "bitmap":
        crop, (left, top) = _bitmap(entry, place.where)
        add_crop(crop, left, top, place)
        return
    if kind not in ("rectangle", "polygon"):
        reason = "which marks no area" if kind in _NO_AREA else "which is not known"
        raise ValueError(f"{place.where} is a {shown(kind, 40)!r}, {reason}; draw a rectangle, polygon or bitmap")
    points = entry.get("points")
    outside, inside = (points.get("exterior"), points.get("interior", [])) if isinstance(points, dict) else (None, [])
    rings = [_ring(ring, place.where) for ring in [outside, *(inside if isinstance(inside, list) else [None])]]
    if kind == "rectangle":
        if len(rings[0]) != 2:
            raise ValueError(
                f"{place.where} must have two points for a rectangle; got {len(rings[0])}; export it again"
            )
        (left_x, right_x), (top_y, bottom_y) = (sorted(values) for values in zip(*rings[0], strict=True))
        place.add_box(left_x, top_y, right_x + 1, bottom_y + 1)  # the last pixel is included
    else:
        add_polygon(rings[0], place, rings[1:])


def _ring(points: Any, where: str) -> list[Point]:
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(type(value) in (int, float) for value in point)
        for point in points
    ):
        raise ValueError(f"{where} must have points with exterior [[x, y], ...] and interior rings; export it again")
    return [(float(min(x, 1e300)), float(min(y, 1e300))) for x, y in points]


def _bitmap(entry: dict[str, Any], where: str) -> tuple[Mask, tuple[int, int]]:
    """Return a bitmap's pixels, a packed PNG in base64, and the place of its first pixel."""
    bitmap = entry.get("bitmap")
    try:
        left, top = bitmap["origin"]  # type: ignore[index]
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(bitmap["data"]), _LARGEST)  # type: ignore[index]
        mode, pixels = load_pixels("it", io.BytesIO(content))
    except (ValueError, TypeError, KeyError, binascii.Error, zlib.error):
        raise ValueError(f"{where} must have a bitmap with origin and data, a PNG; export it again") from None
    if type(left) is not int or type(top) is not int or max(abs(left), abs(top)) > 1e6:
        raise ValueError(f"{where} must have a bitmap whose origin is [x, y] in pixels; export it again")
    return (pixels[..., 3] if mode == "RGBA" else pixels) > 0, (left, top)
