"""CompCars: 431 models of 75 makers, from the web (Yang et al. 2015).

From http://mmlab.ie.cuhk.edu.hk/datasets/comp_cars (data.zip, with the authors' password), unpacked:

    data/image/MAKE/MODEL/YEAR/IMAGE.jpg
    data/label/MAKE/MODEL/YEAR/IMAGE.txt                     viewpoint, number of boxes, "x1 y1 x2 y2": a line each
    data/train_test_split/classification/{train,test}.txt    MAKE/MODEL/YEAR/IMAGE.jpg, a line each
    data/misc/make_model_name.mat                            names of the numbered makes and models
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

from looksharp.data.crops import CroppedSplit, read_box
from looksharp.data.listed import Listed, check_files, find_home, listed_data
from looksharp.data.matlab import read_mat
from looksharp.data.registry import data_set
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.tables import read_lines
from looksharp.marks.documents import read_text
from looksharp.marks.regions import box_regions
from looksharp.marks.union import Box

__all__ = ["read_compcars"]

_LISTS = "train_test_split/classification"
_SIZE = (224, 323)  # height and width
_DEPTH = {"maker": 1, "model": 2}  # how many folders tell the class


@data_set("compcars_model", task="model")
@data_set("compcars_maker", task="maker")
def read_compcars(
    root: Path,
    task: Literal["model", "maker"] = "model",
    crop_to_boxes: bool = True,
) -> Data:
    """Read the cars of the classification lists, each cut out by its box.

    ABN (sec. 4.3) takes 323 x 224 px, the boxes' average shape. Its 36,451 and 15,626 images of 432 models are a
    division that was not published; the set's own lists are shorter. The lists in the folder are read as they are.

    Args:
        root: the folder that holds data, or that folder.
        task: classes are models or makers.
        crop_to_boxes: cut each image to the car's box; else keep the whole photograph, with the box as its mask.

    Raises:
        ValueError: if a list, an image or its label is missing, or the lists differ in their classes.
    """
    home = find_home("compcars", root, ("data", "CompCars/data"), _LISTS)
    paths = {name: _listed(home, name) for name in ("train", "test")}
    keys = {name: [tuple(p.split("/")[1 : 1 + _DEPTH[task]]) for p in listed] for name, listed in paths.items()}
    found = sorted(set(keys["train"]), key=lambda key: [(len(part), part) for part in key])
    foreign = next((key for key in keys["test"] if key not in set(found)), None)
    if foreign is not None:
        raise ValueError(f"{home / _LISTS / 'test.txt'} has a {task} that train.txt lacks: {'/'.join(foreign)}")
    number = {key: place for place, key in enumerate(found)}
    files: dict[str, Listed] = {
        name: [(path, number[key]) for path, key in zip(paths[name], keys[name], strict=True)] for name in paths
    }
    boxes = {path: _box(home, path) for listed in paths.values() for path in listed}
    regions, notes = (None, None) if crop_to_boxes else box_regions(home, {p: [b] for p, b in boxes.items()}, home)
    data = listed_data(home, _names(home, found), files, regions=regions, notes=notes)
    splits = {name: _cropped(home, split, boxes) if crop_to_boxes else split for name, split in data.splits.items()}
    return replace(data, splits=splits, pixels=Pixels(_SIZE))


def _cropped(home: Path, split: Split, boxes: dict[str, Box]) -> Split:
    paths = split.names
    return CroppedSplit(targets=split.targets, root=home, paths=paths, boxes=[boxes[path] for path in paths])


def _listed(home: Path, name: str) -> list[str]:
    table = home / _LISTS / f"{name}.txt"
    if not table.is_file():
        raise ValueError(f"{table} does not exist")
    lines = [line.strip() for line in read_lines(table, "a list of CompCars")]
    wrong = next((line for line in lines if line.count("/") != 3), None)
    if wrong is not None or not lines:
        raise ValueError(f"{table} must list images as MAKE/MODEL/YEAR/IMAGE.jpg; got {wrong or 'no line'!r}")
    paths = [f"image/{line}" for line in lines]
    check_files(home, paths, f"{_LISTS}/{name}.txt")
    return paths


def _box(home: Path, path: str) -> Box:
    label = home / PurePosixPath("label", *PurePosixPath(path).parts[1:]).with_suffix(".txt")
    if not label.is_file():
        raise ValueError(f"{label} does not exist, though {path} needs its box")
    lines = read_text(label, "a label of CompCars").split("\n")
    return read_box(lines[2].split() if len(lines) > 2 else (), f"{label}, line 3")


def _names(home: Path, classes: list[tuple[str, ...]]) -> list[str]:
    """Return each class's name, with its numbers where several classes share the name."""
    table = home / "misc" / "make_model_name.mat"
    if not table.is_file():
        return ["/".join(key) for key in classes]
    tables = [[_text(entry) for entry in column] for column in read_mat(table, ("make_names", "model_names"))]
    named = [_name(key, tables) for key in classes]
    return [
        name if name and named.count(name) == 1 else f"{name} {'/'.join(key)}".strip()
        for name, key in zip(named, classes, strict=True)
    ]


def _name(key: tuple[str, ...], tables: list[list[str]]) -> str:
    """Return the name of the maker or model that the last number of the key stands for."""
    names, number = tables[len(key) - 1], key[-1]
    place = int(number) - 1 if number.isdecimal() else -1
    return names[place] if 0 <= place < len(names) else ""


def _text(entry: object) -> str:
    """Return the text of a cell of a MATLAB array, or nothing."""
    return entry.strip() if isinstance(entry, str) else ""
