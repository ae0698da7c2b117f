"""Caltech-UCSD Birds-200-2011, with boxes, parts and masks as marks.

From https://data.caltech.edu/records/65de6-vp158: CUB_200_2011.tgz and, for masks, segmentations.tgz. The first holds

    CUB_200_2011/images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg ...
    CUB_200_2011/{images,classes,image_class_labels,train_test_split,bounding_boxes}.txt
    CUB_200_2011/parts/part_locs.txt

and the second segmentations/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.png ..., which may lie in
CUB_200_2011 or beside it. The root holds CUB_200_2011 or is it.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Literal, get_args

from looksharp.data.listed import Listed, check_files, find_home, listed_data
from looksharp.data.registry import data_set
from looksharp.data.split import Data
from looksharp.data.tables import read_lines
from looksharp.images.headers import read_size
from looksharp.marks.regions import Discs, MaskFile, Region, box_regions, check_fit
from looksharp.marks.union import Box

__all__ = ["MarksFrom", "read_cub200"]

MarksFrom = Literal["boxes", "parts", "masks"]
"""Marks of a bird: its box, discs around its parts, or its mask."""
_RADIUS = 0.05  # of a part's disc, as a share of the image's shorter side

_Row = list[str]


@data_set("cub200")
def read_cub200(root: Path, marks_from: MarksFrom = "boxes") -> Data:
    """Read CUB-200-2011: 200 classes, 5,994 training and 5,794 test images by train_test_split.txt.

    Args:
        root: the folder that holds CUB_200_2011.
        marks_from: "boxes", the bird's; "parts", discs around its visible parts, whose radius is a twentieth of the
            image's shorter side; or "masks", the pixels that most of those who drew outlines (more than half of the
            full grey value) took for the bird.

    Raises:
        ValueError: if a file, an image or a mask is missing, a table is damaged, or a class is empty.
    """
    if marks_from not in get_args(MarksFrom):
        raise ValueError(f"marks_from must be one of {', '.join(get_args(MarksFrom))}; got {marks_from!r}")
    home = find_home("cub200", root, ("CUB_200_2011",), "images.txt")
    classes = {row[0]: row[1] for row in _table(home / "classes.txt", 2)}
    images = {row[0]: f"images/{row[1]}" for row in _table(home / "images.txt", 2)}
    labels, training = (_of_each(home / name, images) for name in ("image_class_labels.txt", "train_test_split.txt"))
    check_files(home, images.values(), "images.txt")
    numbers = {number: label for label, number in enumerate(classes)}
    files: dict[str, Listed] = {"train": [], "test": []}
    for image, path in images.items():
        if labels[image][0] not in numbers:
            raise ValueError(f"{home / 'image_class_labels.txt'} gives image {image} a class not in classes.txt")
        files["train" if training[image][0] == "1" else "test"].append((path, numbers[labels[image][0]]))
    notes: Counter[str] = Counter()
    if marks_from == "boxes":
        regions, notes = _boxes(home, images)
    elif marks_from == "parts":
        regions = _parts(home, images)
    else:
        regions = _masks(home, images)
    names = list(classes.values())
    return listed_data(home, names, files, regions=regions, notes=notes)


def _table(path: Path, columns: int) -> list[_Row]:
    """Return the rows of words of a table."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    rows = [line.split() for line in read_lines(path, "a table of CUB-200-2011")]
    for number, row in enumerate(rows, 1):
        if len(row) != columns:
            raise ValueError(f"{path}: row {number} must have {columns} columns; got {len(row)}")
    return rows


def _of_each(path: Path, images: dict[str, str], columns: int = 2) -> dict[str, _Row]:
    """Return the row of each image by its number, without that."""
    rows = {row[0]: row[1:] for row in _table(path, columns)}
    missing = next((image for image in images if image not in rows), None)
    if missing is not None:
        raise ValueError(f"{path} has no row for image {missing}, {images[missing]}")
    return rows


def _numbers(words: _Row, where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [math.nan]
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"{where} must be numbers; got {' '.join(words)}")
    return numbers


def _boxes(home: Path, images: dict[str, str]) -> tuple[dict[str, Region], Counter[str]]:
    path = home / "bounding_boxes.txt"
    boxes: dict[str, list[Box]] = {}
    for image, row in _of_each(path, images, 5).items():
        if image in images:
            left, top, width, height = _numbers(row, f"{path}: the box of image {image}")
            boxes[images[image]] = [(left, top, left + width, top + height)]
    return box_regions(home, boxes, path)


def _parts(home: Path, images: dict[str, str]) -> dict[str, Region]:
    path = home / "parts" / "part_locs.txt"
    points: dict[str, list[tuple[float, float]]] = {}
    for image, part, x, y, visible in _table(path, 5):
        if image in images and visible == "1":
            numbers = _numbers([x, y], f"{path}: part {part} of image {image}")
            points.setdefault(images[image], []).append((numbers[0], numbers[1]))
    regions: dict[str, Region] = {}
    for image, found in points.items():
        size = read_size(home / image)
        regions[image] = Discs(size, tuple(found), _RADIUS * min(size))
    return regions


def _masks(home: Path, images: dict[str, str]) -> dict[str, Region]:
    folders = (home / "segmentations", home.parent / "segmentations")
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        raise ValueError(f"marks_from 'masks' needs segmentations, which is neither in {home} nor beside it")
    files = {path: f"{path.removeprefix('images/').rpartition('.')[0]}.png" for path in images.values()}
    check_files(folder, files.values(), "images.txt")
    for path, file in files.items():
        check_fit(folder / file, read_size(folder / file), home / path)
    return {path: MaskFile(folder / file) for path, file in files.items()}
