"""YOLO: a text file for each image with a line for each object, in shares of the image's size."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from looksharp.marks.label_files import LabelFiles
from looksharp.marks.shapes import add_polygon
from looksharp.marks.union import MaskUnion

__all__ = ["read_yolo", "yolo_names"]

_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt")
_LISTS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt"})  # that are no labels
_FORMS = "'class x y width height' or 'class x1 y1 x2 y2 x3 y3 ...' in shares of the image's size"


def yolo_names(folder: Path) -> Path | None:
    """The file that names the classes of a YOLO folder: data.yaml or classes.txt; None if it is no such folder."""
    names = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    return names if names is not None and _label_files(folder) else None


def read_yolo(path: Path, union: MaskUnion) -> None:
    """Add a YOLO data set to `union`: boxes, polygons (segmentation) and turned boxes (four corners, OBB).

    A folder with data.yaml or classes.txt, and labels in folders called labels or beside them (Ultralytics,
    Roboflow, labelImg, Label Studio); or the data.yaml itself, whose `path` is followed. The image of
    labels/train/0001.txt is train/0001 or, where only one image fits, 0001. A box may be followed by a
    confidence; of a pose (`kpt_shape`) the box counts.

    Raises:
        ValueError: if the class names or a line are not of these forms, or a line does not fit its image.

    """
    file = path if path.is_file() else yolo_names(path)
    if file is None:
        raise ValueError(f"{path} must be a YOLO folder with data.yaml or classes.txt, and labels; add what is missing")
    names, settings = _names(file)
    folder = file.parent / str(settings.get("path", "."))
    folder = folder if folder.is_dir() else file.parent
    keypoints = settings.get("kpt_shape") or [0, 0]
    images = LabelFiles(union)
    for labels in _label_files(folder):
        reference = PurePosixPath(*(part for part in labels.relative_to(folder).parts if part != "labels"))
        lines = labels.read_text(encoding="utf-8-sig").splitlines()
        image = images.find(reference.as_posix(), labels) if any(map(str.strip, lines)) else None
        for number, line in enumerate(lines, 1):
            if image is not None and line.strip():
                where = f"{labels}: line {number}"
                _add(_numbers(line, where), image, names, union, where, 5 + keypoints[0] * keypoints[1])


def _add(
    numbers: list[float], image: str, names: dict[int, str], union: MaskUnion, where: str, pose_length: int
) -> None:
    kind, *shares = numbers
    if kind not in names:
        raise ValueError(f"{where} has the class {kind:g}; expected one of {sorted(names)}, as the class names say")
    label = names[int(kind)]
    if not union.knows(label, where):
        return
    height, width = union.images[image]
    if len(numbers) in (5, 6, pose_length):
        x, y, wide, high = shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height
        union.add_box(image, label, (x - wide / 2, y - high / 2, x + wide / 2, y + high / 2), where)
    elif len(numbers) > 6 and len(numbers) % 2:
        points = [(x * width, y * height) for x, y in zip(shares[::2], shares[1::2], strict=True)]
        add_polygon(points, image, label, union, where)
    else:
        raise ValueError(f"{where} must be {_FORMS}; got {len(numbers)} numbers; export it again")


def _numbers(line: str, where: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        raise ValueError(f"{where} must be {_FORMS}; got {line[:60]!r}; export it again") from None


def _label_files(folder: Path) -> list[Path]:
    found = [file for file in folder.glob("**/labels/**/*.txt")] or [*folder.glob("*.txt")]
    return sorted(file for file in found if file.name not in _LISTS)


def _names(file: Path) -> tuple[dict[int, str], dict[str, Any]]:
    """Class names by index, and all settings of a data.yaml."""
    if file.suffix == ".txt":
        return dict(enumerate(line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines())), {}
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
        names = settings["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(index): str(name) for index, name in pairs}, settings
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise ValueError(f"{file} must hold YOLO's class names, as in 'names: [cat, dog]'; add them") from None
