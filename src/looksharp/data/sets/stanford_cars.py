"""Stanford Cars, in torchvision's layout, with boxes as marks.

Its own site is gone; copies of the four files car_devkit.tgz, cars_train.tgz, cars_test.tgz and
cars_test_annos_withlabels.mat are kept on Kaggle and the Internet Archive. The root holds

    stanford_cars/devkit/{cars_meta,cars_train_annos}.mat
    stanford_cars/cars_test_annos_withlabels.mat
    stanford_cars/cars_train/00001.jpg ... and cars_test/00001.jpg ...

or is stanford_cars.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from looksharp.data.listed import Listed, check_files, find_home, listed_data
from looksharp.data.matlab import read_mat
from looksharp.data.registry import data_set
from looksharp.data.split import Data
from looksharp.marks.regions import Region, box_regions
from looksharp.marks.union import Box

__all__ = ["read_stanford_cars"]

_TABLES = {"train": "devkit/cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
_FIELDS = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")


@data_set("stanford_cars")
def read_stanford_cars(root: Path) -> Data:
    """Read Stanford Cars: 196 classes, 8,144 training and 8,041 test images, and the box of every car.

    Args:
        root: the folder that holds stanford_cars.

    Raises:
        ValueError: if a file or an image is missing, an annotation file is damaged, or a class is empty.
    """
    home = find_home("stanford_cars", root, ("stanford_cars",), "devkit")
    (names,) = read_mat(home / "devkit" / "cars_meta.mat", ["class_names"])
    classes = [str(name) for name in np.atleast_1d(names)]
    files: dict[str, Listed] = {}
    regions: dict[str, Region] = {}
    notes: Counter[str] = Counter()
    for split, table in _TABLES.items():
        rows = _rows(home / table)
        files[split] = [(f"cars_{split}/{row[5]}", int(row[4]) - 1) for row in rows]
        outside = next((path for path, label in files[split] if not 0 <= label < len(classes)), None)
        if outside is not None:
            raise ValueError(f"{home / table} gives {outside} a class that is not 1 to {len(classes)}")
        check_files(home, [path for path, _ in files[split]], table)
        boxes: dict[str, list[Box]] = {}
        for (path, _), (left, top, right, bottom, *_) in zip(files[split], rows, strict=True):
            boxes[path] = [(left - 1.0, top - 1.0, float(right), float(bottom))]  # pixels from 1, the last included
        found, counted = box_regions(home, boxes, home / table)
        regions |= found
        notes += counted
    return listed_data(home, classes, files, regions=regions, notes=notes)


def _rows(path: Path) -> list[tuple[int, int, int, int, int, str]]:
    (table,) = read_mat(path, ["annotations"])
    missing = [name for name in _FIELDS if name not in (table.dtype.names or ())]
    if missing:
        others = "; the test images' classes are in cars_test_annos_withlabels.mat" if missing == ["class"] else ""
        raise ValueError(f"{path}: annotations must have the field {missing[0]!r}{others}")
    return [(*(int(row[name]) for name in _FIELDS[:5]), str(row["fname"])) for row in np.atleast_1d(table)]  # type: ignore[misc]
