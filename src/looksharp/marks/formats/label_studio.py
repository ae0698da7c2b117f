"""Label Studio's own JSON: a list of tasks, each an image with what people drew on it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NoReturn

import numpy as np

from looksharp.marks.documents import read_json, shown
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.place import Place
from looksharp.marks.shapes import add_ellipse, add_polygon
from looksharp.marks.union import Mask, MaskUnion
from looksharp.marks.values import Entry, listed, mapping, numbers, points, text, whole_numbers

__all__ = ["LabelStudio"]

_KINDS = ("rectangle", "polygon", "ellipse", "brush")
_NO_AREA = ("keypoint", "vector", "line")


@MARK_FORMATS.register("label_studio")
class LabelStudio(MarkFormat):
    """Label Studio's JSON export: rectangles and ellipses (turned ones too), polygons and brush strokes.

    The image is the one that a task's data names by path or URL; the prefix of an upload is left out where the data
    lacks it. Cancelled annotations, predictions and results about whole images are passed over; keypoints are
    refused. JSON-MIN, which does not name the tool of each shape, is refused too.
    """

    takes = "a Label Studio .json file"

    def matches(self, path: Path) -> bool:
        """Match a .json file that is a list, with results in it (JSON) or an annotation's number (JSON-MIN)."""
        if not path.is_file() or path.suffix.lower() != ".json":
            return False
        content = path.read_bytes()
        names = (b'"annotations"', b'"result"') if b'"annotations"' in content else (b'"annotation_id"',)
        return content.lstrip()[:1] == b"[" and all(name in content for name in names)

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add the tasks of a file to `union`.

        Raises:
            ValueError: if the file is damaged, is JSON-MIN, has keypoints, or a result does not fit its image.
        """
        tasks = read_json(path, "Label Studio's JSON")
        tasks = [mapping(task) for task in listed(tasks) or [tasks]]
        if any("annotation_id" in task and "annotations" not in task for task in tasks):
            raise ValueError(
                f"{path} is Label Studio's JSON-MIN, which is not read; export the project there as JSON or COCO"
            )
        drawn = [_task(task, f"{path}: task {number}") for number, task in enumerate(tasks, 1)]
        index = ImageIndex(union.images, references=(name for name, _ in drawn))
        for number, (name, results) in enumerate(drawn, 1):
            where = f"{path}: task {number}"
            image = index.find_any(name, where)
            for place, result in enumerate(results, 1):
                _add(result, image, name, union, f"{where}, result {place}")


def _task(task: Entry, where: str) -> tuple[str, list[Entry]]:
    """Return the name of a task's image, and what was drawn on it."""
    data, annotations = mapping(task.get("data")), listed(task.get("annotations"))
    if not data or annotations is None:
        raise ValueError(f"{where} must have data and annotations; export it again")
    name = text(data.get("image")) or next(filter(None, map(text, data.values())), None)
    if name is None:
        raise ValueError(f"{where} must name its image in data; export it again")
    results: list[Entry] = []
    for annotation in map(mapping, annotations):
        found = listed(annotation.get("result", []))
        if found is None:
            raise ValueError(f"{where} must have annotations with lists of results; export it again")
        if not annotation.get("was_cancelled"):
            results += map(mapping, found)
    return name, results


def _add(result: Entry, image: str | None, name: str, union: MaskUnion, where: str) -> None:
    kind = (text(result.get("type")) or "").removesuffix("labels")
    value = mapping(result.get("value"))
    if kind in _NO_AREA:
        raise ValueError(f"{where} is a {kind}, which marks no area; draw a rectangle, polygon or brush instead")
    if kind not in _KINDS or not value:
        return  # about the whole image, such as choices, or without coordinates
    labels = listed(value.get(f"{kind}labels") or value.get("labels"))
    if image is None:
        union.skip("image not in the data", f"{name!r} in {where}")
        return
    if not labels or None in map(text, labels):
        raise ValueError(f"{where} must have a list of labels; label the {kind} there")
    if result.get("image_rotation"):
        raise ValueError(f"{where} is drawn on an image turned in Label Studio; turn it back there")
    size = _number(result, "original_height", where), _number(result, "original_width", where)
    union.check_size(image, size, where)
    for label in labels:
        if union.knows(label, where):
            _DRAWN[kind](value, Place(union, image, label, where))


def _add_rectangle(value: Entry, place: Place) -> None:
    left, top, wide, high = _pixels(value, ("x", "y", "width", "height"), place)
    degrees = _number(value, "rotation", place.where) if value.get("rotation") else 0.0
    if not degrees:
        place.add_box(left, top, left + wide, top + high)
        return
    along, across = _turned(wide, 0, degrees), _turned(0, high, degrees)  # about the first corner
    ends = [(0.0, 0.0), along, (along[0] + across[0], along[1] + across[1]), across]
    add_polygon([(left + x, top + y) for x, y in ends], place)


def _add_ellipse(value: Entry, place: Place) -> None:
    x, y, across, along = _pixels(value, ("x", "y", "radiusX", "radiusY"), place)
    degrees = _number(value, "rotation", place.where) if value.get("rotation") else 0.0
    add_ellipse((x, y), (across, along), place, degrees)


def _add_polygon(value: Entry, place: Place) -> None:
    drawn, (height, width) = points(value.get("points")), place.size
    if drawn is None:
        raise ValueError(f"{place.where} must have points [[x, y], ...]; export it again")
    add_polygon([(x / 100 * width, y / 100 * height) for x, y in drawn], place)


def _add_brush(value: Entry, place: Place) -> None:
    rle = whole_numbers(value.get("rle"))
    if rle is None or max(rle, default=0) > 255:
        raise ValueError(f"{place.where} must have an rle, a list of bytes; export it again")
    place.add_mask(_brush_mask(bytes(rle), place))


def _brush_mask(rle: bytes, place: Place) -> Mask:
    """Decode Label Studio's RLE of an RGBA image; a pixel is marked where it is not transparent.

    Bits: 32 for the number of values, 5 for the bits of a value less 1, four times 4 for the bits of a run's length
    less 1; then runs: whether one value repeats, 2 that choose among the four, the length less 1, the value or values.
    """
    height, width = place.size
    bits = np.unpackbits(np.frombuffer(rle, np.uint8)).tolist()
    at = 0

    def take(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            _refuse_brush(place, "it ends too early")
        at += count
        return int("".join(map(str, bits[at - count : at])), 2)

    total, word = take(32), take(5) + 1
    if total != height * width * 4:
        _refuse_brush(place, f"it has {total} values for {width} x {height} pixels of 4")
    lengths = [take(4) + 1 for _ in range(4)]
    values = np.zeros(total, dtype=np.int64)
    done = 0
    while done < total:
        repeats = take(1)
        end = done + 1 + take(lengths[take(2)])
        if end > total:
            _refuse_brush(place, "it has too many values")
        values[done:end] = take(word) if repeats else [take(word) for _ in range(end - done)]
        done = end
    return values.reshape(height, width, 4)[..., 3] > 0


def _refuse_brush(place: Place, reason: str) -> NoReturn:
    raise ValueError(f"{place.where} has an rle that cannot be read: {reason}; export it again")


_DRAWN = {"rectangle": _add_rectangle, "ellipse": _add_ellipse, "polygon": _add_polygon, "brush": _add_brush}


def _pixels(value: Entry, names: tuple[str, ...], place: Place) -> list[float]:
    """Return numbers in percent of the image as pixels: across, down, across, down."""
    height, width = place.size
    sides = (width, height, width, height)
    return [_number(value, name, place.where) / 100 * side for name, side in zip(names, sides, strict=True)]


def _turned(x: float, y: float, degrees: float) -> tuple[float, float]:
    """Return a vector turned clockwise as seen on the screen."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return cosine * x - sine * y, sine * x + cosine * y


def _number(value: Entry, name: str, where: str) -> float:
    found = numbers([value.get(name)])
    if found and abs(found[0]) < 1e9:  # not NaN
        return found[0]
    raise ValueError(f"{where} must have a number {name}; got {shown(value.get(name), 40)!r}; export it again")
