"""UEC Food 100: a hundred Japanese dishes, each in its box (Matsuda et al. 2012).

From http://foodcam.mobi/dataset100.html (dataset100.zip), unpacked:

    UECFOOD100/category.txt     "id name", a class a line, below a header
    UECFOOD100/N/IMAGE.jpg      photographs that show class N
    UECFOOD100/N/bb_info.txt    "img x1 y1 x2 y2", a dish a line, below a header

A photograph of several dishes lies in each of their folders, under one name; a dish that appears twice has two boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from looksharp.data.crops import CroppedSplit, read_box
from looksharp.data.dividing import Fold, check_fold, fold_of
from looksharp.data.listed import check_files, find_home, listed_data
from looksharp.data.registry import data_set
from looksharp.data.split import Data, Split
from looksharp.data.tables import read_lines
from looksharp.marks.documents import read_text
from looksharp.marks.regions import box_regions
from looksharp.marks.union import Box

__all__ = ["read_uec_food"]

_Dish = tuple[str, int, Box]  # path, class, box


@data_set("uec_food100")
def read_uec_food(root: Path, fold: Fold = 0, crop_to_boxes: bool = True) -> Data:
    """Read the dishes, cut out by their boxes before training as WARN does (sec. 4.1).

    The set has no published division and WARN names none, so the photographs are dealt into five fixed folds, class
    by class; one is tested on, the other four are trained on. All dishes of a photograph are in one split.

    Args:
        root: the folder that holds UECFOOD100, or that folder.
        fold: fold that is tested on, 0 to 4; the others are trained on.
        crop_to_boxes: cut each image to a dish's box; else keep the whole photograph, with its boxes as its mask.

    Raises:
        ValueError: if a table or an image is missing, a class has no image, or a line is malformed.
    """
    check_fold(fold)
    home = find_home("uec_food100", root, ("UECFOOD100",), "category.txt")
    numbers, classes = _classes(home / "category.txt")
    dishes = [dish for label, number in enumerate(numbers) for dish in _dishes(home, number, label)]
    if not crop_to_boxes:  # one item for each photograph of a class
        boxes: dict[str, list[Box]] = {}
        for path, _, box in dishes:
            boxes.setdefault(path, []).append(box)
        dishes = list({path: (path, label, box) for path, label, box in dishes}.values())
    photographs = [Path(path).stem for path, _, _ in dishes]
    folds = fold_of(photographs, [label for _, label, _ in dishes])
    parts = {
        "train": [place for place, number in enumerate(folds) if number != fold],
        "test": [place for place, number in enumerate(folds) if number == fold],
    }
    files = {name: [dishes[place][:2] for place in places] for name, places in parts.items()}
    regions, notes = (None, None) if crop_to_boxes else box_regions(home, boxes, home)
    data = listed_data(home, classes, files, regions=regions, notes=notes)
    splits = data.splits
    if crop_to_boxes:
        splits = {name: _cropped(home, [dishes[place] for place in places]) for name, places in parts.items()}
    owned = replace(splits["train"], owners=[photographs[place] for place in parts["train"]])
    return replace(data, splits=splits | {"train": owned})


def _cropped(home: Path, dishes: Sequence[_Dish]) -> Split:
    paths, labels, boxes = zip(*dishes, strict=True)
    return CroppedSplit(targets=torch.tensor(labels), root=home, paths=paths, boxes=boxes)


def _classes(table: Path) -> tuple[list[str], list[str]]:
    """Return the folder and name of each class."""
    lines = [line.split(maxsplit=1) for line in read_lines(table, "UEC Food's classes")]
    found = [line for line in lines if line[0].isdecimal()]
    wrong = next((line for line in found if len(line) != 2), None)
    if wrong is not None or len(found) < 2:
        raise ValueError(f"{table} must list a class a line, its number and its name; got {wrong or lines[:1]}")
    return [number for number, _ in found], [name.strip() for _, name in found]


def _dishes(home: Path, folder: str, label: int) -> list[_Dish]:
    table = home / folder / "bb_info.txt"
    if not table.is_file():
        raise ValueError(f"{table} does not exist; every class folder has one, with the boxes of its dishes")
    found: list[_Dish] = []
    for number, line in enumerate(read_text(table, "UEC Food's boxes").splitlines(), 1):
        words = line.split()
        if not words or words[0] == "img":
            continue
        found.append((f"{folder}/{words[0]}.jpg", label, read_box(words[1:], f"{table}, line {number}")))
    check_files(home, dict.fromkeys(path for path, _, _ in found), f"{folder}/bb_info.txt")
    return found
