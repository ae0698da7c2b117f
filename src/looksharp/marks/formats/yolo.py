"""YOLO: a text file for each image with a line for each object, in shares of the image's size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import yaml

from looksharp.marks.documents import read_text, shown
from looksharp.marks.label_files import LabelFiles
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.place import Place
from looksharp.marks.shapes import add_polygon
from looksharp.marks.union import MaskUnion
from looksharp.marks.values import Entry, listed, mapping, whole_numbers

__all__ = ["Yolo"]

_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt")
_LISTS = frozenset({"classes.txt", "train.txt", "val.txt", "test.txt"})  # that are no labels
_FORMS = "'class x y width height' or 'class x1 y1 x2 y2 x3 y3 ...' in shares of the image's size"


@MARK_FORMATS.register("yolo")
class Yolo(MarkFormat):
    """A YOLO data set: boxes, polygons (segmentation) and turned boxes (four corners, OBB).

    A folder with data.yaml or classes.txt, and labels in folders called labels or beside them (Ultralytics,
    Roboflow, labelImg, Label Studio); or the data.yaml itself, whose `path` is followed. The image of
    labels/train/0001.txt is train/0001 or, where only one image fits, 0001. A box may be followed by a
    confidence; of a pose (`kpt_shape`) the box counts.
    """

    takes = "a YOLO data.yaml or the folder of one"

    def matches(self, path: Path) -> bool:
        """Match a .yaml file, and a folder with class names and labels."""
        return _names_file(path) is not None if path.is_dir() else path.suffix.lower() in (".yaml", ".yml")

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add a YOLO data set to `union`.

        Raises:
            ValueError: if the class names or a line are not of these forms, or a line does not fit its image.
        """
        file = path if path.is_file() else _names_file(path)
        if file is None:
            raise ValueError(
                f"{path} must be a YOLO folder with data.yaml or classes.txt, and labels; add what is missing"
            )
        names, settings = _names(file)
        folder = file.parent / str(settings.get("path", "."))
        folder = folder if folder.is_dir() and folder.resolve() != Path(folder.anchor) else file.parent
        pose_length = _pose_length(settings.get("kpt_shape"), file)
        images = LabelFiles(union)
        for labels in _label_files(folder):
            reference = PurePosixPath(*(part for part in labels.relative_to(folder).parts if part != "labels"))
            lines = read_text(labels, "YOLO labels").splitlines()
            image = images.find(reference.as_posix(), labels) if any(map(str.strip, lines)) else None
            for number, line in enumerate(lines, 1):
                if image is not None and line.strip():
                    _add(line, names, pose_length, Place(union, image, "", f"{labels}: line {number}"))


def _add(line: str, names: Mapping[int, str], pose_length: int, place: Place) -> None:
    numbers = _numbers(line, place.where)
    kind, *shares = numbers
    if kind not in names:
        raise ValueError(
            f"{place.where} has the class {kind:g}; expected one of {sorted(names)}, as the class names say"
        )
    label = names[int(kind)]
    if not place.union.knows(label, place.where):
        return
    place = Place(place.union, place.image, label, place.where)
    height, width = place.size
    if len(numbers) in (5, 6, pose_length):
        x, y, wide, high = shares[0] * width, shares[1] * height, shares[2] * width, shares[3] * height
        place.add_box(x - wide / 2, y - high / 2, x + wide / 2, y + high / 2)
    elif len(numbers) > 6 and len(numbers) % 2:
        add_polygon([(x * width, y * height) for x, y in zip(shares[::2], shares[1::2], strict=True)], place)
    else:
        raise ValueError(f"{place.where} must be {_FORMS}; got {len(numbers)} numbers; export it again")


def _numbers(line: str, where: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError:
        raise ValueError(f"{where} must be {_FORMS}; got {line[:60]!r}; export it again") from None


def _names_file(folder: Path) -> Path | None:
    """Return the file that names the classes of a YOLO folder; None if it is no such folder."""
    names = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    return names if names is not None and _label_files(folder) else None


def _label_files(folder: Path) -> list[Path]:
    found = [file for file in folder.glob("**/labels/**/*.txt")] or [*folder.glob("*.txt")]
    return sorted(file for file in found if file.name not in _LISTS and file.is_file())


def _names(file: Path) -> tuple[dict[int, str], Entry]:
    """Return class names by index, and all settings of a data.yaml."""
    text = read_text(file, "YOLO's class names")
    if file.suffix == ".txt":
        return dict(enumerate(line.strip() for line in text.splitlines())), {}
    try:
        settings = yaml.safe_load(text)
        names = settings["names"]
        named = mapping(names).items() or list(enumerate(listed(names) or ()))
        if not named or not all(type(name) in (str, int, float) for _, name in named):
            raise TypeError
        return {int(index): str(name) for index, name in named}, settings
    except (yaml.YAMLError, RecursionError, LookupError, TypeError, ValueError, OverflowError, AttributeError):
        raise ValueError(f"{file} must hold YOLO's class names, as in 'names: [cat, dog]'; add them") from None


def _pose_length(shape: object, file: Path) -> int:
    """Return how many numbers a line of a pose has: class, box and keypoints."""
    if not shape:
        return 5
    sides = whole_numbers(shape)
    if sides is None or len(sides) != 2:
        raise ValueError(f"{file} must have kpt_shape [keypoints, 2 or 3]; got {shown(shape)!r}; correct it")
    return 5 + sides[0] * sides[1]
