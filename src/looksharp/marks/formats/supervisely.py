"""Supervisely: a JSON file for each image in a folder called ann, with the objects drawn on it."""

from __future__ import annotations

import base64
import binascii
import io
import zlib
from pathlib import Path, PurePosixPath

from looksharp.marks.documents import read_json, shown
from looksharp.marks.label_files import LabelFiles
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.mask_images import load_pixels
from looksharp.marks.place import Place
from looksharp.marks.polygons import Point
from looksharp.marks.shapes import add_crop, add_polygon
from looksharp.marks.union import Mask, MaskUnion
from looksharp.marks.values import Entry, listed, mapping, points, text

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
            content = mapping(read_json(file, "a Supervisely annotation"))
            objects = listed(content.get("objects"))
            if objects is None:
                raise ValueError(f"{file} must have a list of objects; export it again")
            reference = PurePosixPath(*(part for part in file.relative_to(path).parts if part != "ann"))
            image = images.find(reference.with_suffix("").as_posix(), file)
            if image is None:
                continue
            size = mapping(content.get("size"))
            if size:
                union.check_size(image, (size.get("height", 0), size.get("width", 0)), str(file))
            for number, entry in enumerate(objects, 1):
                where = f"{file}: object {number}"
                label = text(mapping(entry).get("classTitle"))
                if label is None:
                    raise ValueError(f"{where} must have a classTitle; export it again")
                if union.knows(label, where):
                    _add(entry, Place(union, image, label, where))


def _files(folder: Path) -> list[Path]:
    pattern = "*.json" if folder.name == "ann" else "ann/*.json"
    return sorted(file for file in folder.rglob(pattern) if file.is_file() and file.parent.name == "ann")


def _add(entry: Entry, place: Place) -> None:
    kind = entry.get("geometryType")
    if kind == "bitmap":
        crop, (left, top) = _bitmap(entry, place.where)
        add_crop(crop, left, top, place)
        return
    if kind not in ("rectangle", "polygon"):
        reason = "which marks no area" if kind in _NO_AREA else "which is not known"
        raise ValueError(f"{place.where} is a {shown(kind, 40)!r}, {reason}; draw a rectangle, polygon or bitmap")
    drawn = mapping(entry.get("points"))
    inside = listed(drawn.get("interior", []))
    rings = [_ring(ring, place.where) for ring in [drawn.get("exterior"), *([None] if inside is None else inside)]]
    if kind == "rectangle":
        if len(rings[0]) != 2:
            raise ValueError(
                f"{place.where} must have two points for a rectangle; got {len(rings[0])}; export it again"
            )
        (left_x, right_x), (top_y, bottom_y) = (sorted(values) for values in zip(*rings[0], strict=True))
        place.add_box(left_x, top_y, right_x + 1, bottom_y + 1)  # the last pixel is included
    else:
        add_polygon(rings[0], place, rings[1:])


def _ring(ring: object, where: str) -> list[Point]:
    found = points(ring)
    if found is None:
        raise ValueError(f"{where} must have points with exterior [[x, y], ...] and interior rings; export it again")
    return found


def _bitmap(entry: Entry, where: str) -> tuple[Mask, tuple[int, int]]:
    """Return a bitmap's pixels, a packed PNG in base64, and the place of its first pixel."""
    bitmap = mapping(entry.get("bitmap"))
    try:
        left, top = bitmap["origin"]
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(base64.b64decode(bitmap["data"]), _LARGEST)
        mode, pixels = load_pixels("it", io.BytesIO(content))
    except (ValueError, TypeError, KeyError, binascii.Error, zlib.error):
        raise ValueError(f"{where} must have a bitmap with origin and data, a PNG; export it again") from None
    if type(left) is not int or type(top) is not int or max(abs(left), abs(top)) > 1e6:
        raise ValueError(f"{where} must have a bitmap whose origin is [x, y] in pixels; export it again")
    return (pixels[..., 3] if mode == "RGBA" else pixels) > 0, (left, top)
