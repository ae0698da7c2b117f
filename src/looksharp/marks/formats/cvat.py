"""CVAT's own format for images: one XML file with all images and their shapes."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from looksharp.marks.documents import read_xml
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.place import Place
from looksharp.marks.polygons import rotated_box
from looksharp.marks.runs import row_runs
from looksharp.marks.shapes import add_crop, add_ellipse, add_polygon
from looksharp.marks.union import MaskUnion

__all__ = ["Cvat"]

_SHAPES = ("box", "polygon", "ellipse", "mask")
_NO_AREA = ("points", "polyline", "skeleton", "cuboid")


@MARK_FORMATS.register("cvat")
class Cvat(MarkFormat):
    """A "CVAT for images 1.1" file: boxes and ellipses (turned ones too), polygons and masks.

    Points, lines and cuboids mark no area and are counted; skeletons are refused; labels of whole images are passed
    over.
    """

    takes = "a CVAT .xml file"

    def matches(self, path: Path) -> bool:
        """Match an .xml file, and a folder with annotations.xml."""
        return (path / "annotations.xml").is_file() or (path.is_file() and path.suffix.lower() == ".xml")

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add a CVAT file to `union`.

        Raises:
            ValueError: if the file is damaged or not of this kind, or a shape does not fit its image.
        """
        path = path / "annotations.xml" if path.is_dir() else path
        root = read_xml(path, "CVAT for images")
        if root.tag != "annotations" or root.find("track") is not None:
            got = "a video's tracks" if root.tag == "annotations" else f"an element {root.tag!r}"
            mend = "export as 'CVAT for images 1.1' or 'COCO 1.0'"
            mend = "of VOC give the folder" if root.tag == "annotation" else mend
            raise ValueError(f"{path} must be a 'CVAT for images' file, got {got}; {mend}")
        index = ImageIndex(union.images, references=(entry.get("name", "") for entry in root.findall("image")))
        for entry in root.findall("image"):
            name = entry.get("name", "")
            image = index.find_any(name, str(path))
            if image is not None:
                height, width = _numbers(entry, ("height", "width"), f"{path}: image {name!r}")
                union.check_size(image, (height, width), f"{path}: image {name!r}")
            shapes = (shape for shape in entry if shape.tag in (*_SHAPES, *_NO_AREA))
            for number, shape in enumerate(shapes, 1):
                where = f"{path}: {shape.tag} {number} of {name!r}"
                if image is None:
                    union.skip("image not in the data", where)
                elif union.knows(shape.get("label", ""), where):
                    _add(shape, Place(union, image, shape.get("label", ""), where))


def _add(shape: ElementTree.Element, place: Place) -> None:
    where = place.where
    turned = _numbers(shape, ("rotation",), where)[0] if "rotation" in shape.attrib else 0.0
    if shape.tag == "skeleton":
        raise ValueError(f"{where} is a skeleton, which marks no area; draw boxes or polygons, or remove it")
    if shape.tag in _NO_AREA:
        place.union.skip("empty mask", where)
    elif shape.tag == "box":
        left, top, right, bottom = _numbers(shape, ("xtl", "ytl", "xbr", "ybr"), where)
        if turned:
            add_polygon(rotated_box(left, top, right, bottom, turned), place)
        else:
            place.add_box(left, top, right, bottom)
    elif shape.tag == "ellipse":
        x, y, across, along = _numbers(shape, ("cx", "cy", "rx", "ry"), where)
        add_ellipse((x, y), (across, along), place, turned)
    elif shape.tag == "polygon":
        points = [_split(pair, where) for pair in shape.get("points", "").split(";")]
        if any(len(point) != 2 for point in points):
            raise ValueError(f"{where} must have points 'x,y;x,y;...'; got {shape.get('points', '')[:60]!r}")
        add_polygon(points, place)
    else:
        _add_mask(shape, place)


def _add_mask(shape: ElementTree.Element, place: Place) -> None:
    """Add the runs of zeros and ones along the rows of a part of the image."""
    where, names = place.where, ("left", "top", "width", "height")
    edges = _numbers(shape, names, where)
    if not all(map(math.isfinite, edges)):
        raise ValueError(f"{where} must have finite numbers {', '.join(names)}; export it again")
    left, top, width, height = map(int, edges)
    runs = [_whole(value) for value in _split(shape.get("rle", ""), where)]
    add_crop(row_runs(runs, height, width, where), left, top, place)


def _numbers(element: ElementTree.Element, names: tuple[str, ...], where: str) -> list[float]:
    try:
        return [float(element.attrib[name]) for name in names]
    except (KeyError, ValueError):
        raise ValueError(f"{where} must have numbers {', '.join(names)}; export it again") from None


def _split(text: str, where: str) -> list[float]:
    try:
        return [float(value) for value in text.split(",")]
    except ValueError:
        raise ValueError(f"{where} must hold numbers parted by commas; got {text[:60]!r}; export it again") from None


def _whole(value: float) -> int:
    """Return a number of pixels; -1, which none is, for NaN and endless ones."""
    return int(value) if math.isfinite(value) else -1
