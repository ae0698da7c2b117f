"""CVAT's own format for images: one XML file with all images and their shapes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from looksharp.marks.image_index import ImageIndex
from looksharp.marks.shapes import add_crop, add_ellipse, add_polygon, rotated_box
from looksharp.marks.union import MaskUnion

__all__ = ["read_cvat"]

_SHAPES = ("box", "polygon", "ellipse", "mask")
_NO_AREA = ("points", "polyline", "skeleton", "cuboid")


def read_cvat(path: Path, union: MaskUnion) -> None:
    """Add a "CVAT for images 1.1" file to `union`: boxes and ellipses (turned ones too), polygons and masks.

    Points, lines, skeletons and cuboids mark no area and are counted; labels of whole images are passed over.

    Raises:
        ValueError: if the file is damaged or not of this kind, or a shape does not fit its image.

    """
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as exc:
        raise ValueError(f"{path} is not XML: {exc}; expected CVAT for images; export it again") from exc
    if root.tag != "annotations" or root.find("track") is not None:
        got = "a video's tracks" if root.tag == "annotations" else f"an element {root.tag!r}"
        mend = "of VOC give the folder" if root.tag == "annotation" else "export as 'CVAT for images 1.1' or 'COCO 1.0'"
        raise ValueError(f"{path} must be a 'CVAT for images' file, got {got}; {mend}")
    index = ImageIndex(union.images)
    for entry in root.findall("image"):
        name = entry.get("name", "")
        image = index.find(name, str(path))
        if image is not None:
            height, width = _numbers(entry, ("height", "width"), f"{path}: image {name!r}")
            union.check_size(image, (int(height), int(width)), f"{path}: image {name!r}")
        shapes = (shape for shape in entry if shape.tag in (*_SHAPES, *_NO_AREA))
        for number, shape in enumerate(shapes, 1):
            where = f"{path}: {shape.tag} {number} of {name!r}"
            if image is None:
                union.skip("image not in the data", where)
            elif union.knows(shape.get("label", ""), where):
                _add(shape, image, union, where)


def _add(shape: ElementTree.Element, image: str, union: MaskUnion, where: str) -> None:
    label = shape.get("label", "")
    turned = _numbers(shape, ("rotation",), where)[0] if "rotation" in shape.attrib else 0.0
    if shape.tag in _NO_AREA:
        union.skip("empty mask", where)
    elif shape.tag == "box":
        left, top, right, bottom = _numbers(shape, ("xtl", "ytl", "xbr", "ybr"), where)
        if turned:
            add_polygon(rotated_box(left, top, right, bottom, turned), image, label, union, where)
        else:
            union.add_box(image, label, (left, top, right, bottom), where)
    elif shape.tag == "ellipse":
        x, y, across, along = _numbers(shape, ("cx", "cy", "rx", "ry"), where)
        add_ellipse((x, y), (across, along), image, label, union, where, turned)
    elif shape.tag == "polygon":
        points = [_split(pair, where) for pair in shape.get("points", "").split(";")]
        if any(len(point) != 2 for point in points):
            raise ValueError(f"{where} must have points 'x,y;x,y;...'; got {shape.get('points', '')[:60]!r}")
        add_polygon(points, image, label, union, where)
    else:
        _add_mask(shape, image, label, union, where)


def _add_mask(shape: ElementTree.Element, image: str, label: str, union: MaskUnion, where: str) -> None:
    """Runs of zeros and ones in turn along the rows of a part of the image."""
    left, top, width, height = (int(value) for value in _numbers(shape, ("left", "top", "width", "height"), where))
    runs = [int(value) for value in _split(shape.get("rle", ""), where)]
    if min(runs) < 0 or sum(runs) != width * height:
        raise ValueError(f"{where} must have an rle of {width} x {height} pixels; got {sum(runs)}; export it again")
    crop = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    add_crop(crop, left, top, image, label, union, where)


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
