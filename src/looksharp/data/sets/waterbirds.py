"""Waterbirds: landbirds and waterbirds pasted over land and water (Sagawa et al. 2020).

From https://github.com/kohpangwei/group_DRO (waterbird_complete95_forest2water2.tar.gz), unpacked:

    waterbird_complete95_forest2water2/metadata.csv   columns img_filename, y, split, place among others
    waterbird_complete95_forest2water2/NNN.Species/*.jpg
"""

from __future__ import annotations

from pathlib import Path

import torch

from looksharp.data.listed import check_files, find_home
from looksharp.data.registry import data_set
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import FileSplit
from looksharp.data.tables import read_rows

__all__ = ["read_waterbirds"]

_CLASSES = ("landbird", "waterbird")
_GROUPS = tuple(f"{bird} on {place}" for bird in _CLASSES for place in ("land", "water"))
_COLUMNS = {"y": ("0", "1"), "place": ("0", "1"), "split": ("0", "1", "2")}
_SPLITS = ("train", "val", "test")


@data_set("waterbirds")
def read_waterbirds(root: Path) -> Data:
    """Read the published splits train, val and test; the four groups are those of bird and place.

    Args:
        root: the folder that holds waterbird_complete95_forest2water2, or that folder.

    Raises:
        ValueError: if the table or an image is missing, a row is malformed, or a split lacks a class.
    """
    home = find_home("waterbirds", root, ("waterbird_complete95_forest2water2",), "metadata.csv")
    table = home / "metadata.csv"
    rows = read_rows(table)
    for number, row in enumerate(rows, 2):
        wrong = next((name for name in _COLUMNS if row.get(name) not in _COLUMNS[name]), None)
        if wrong is not None or not row.get("img_filename"):
            column, expected = (wrong, " or ".join(_COLUMNS[wrong])) if wrong else ("img_filename", "a path")
            raise ValueError(f"{table}, line {number}: {column} must be {expected}; got {row.get(column)!r}")
    check_files(home, (row["img_filename"] for row in rows), "metadata.csv")
    splits: dict[str, Split] = {}
    for number, name in enumerate(_SPLITS):
        chosen = [row for row in rows if row["split"] == str(number)]
        targets = torch.tensor([int(row["y"]) for row in chosen], dtype=torch.long)
        places = torch.tensor([int(row["place"]) for row in chosen], dtype=torch.long)
        for label, bird in enumerate(_CLASSES):
            if not (targets == label).any():
                raise ValueError(f"class {bird!r} has no {name} image in {table}")
        splits[name] = FileSplit(
            targets=targets, groups=2 * targets + places, root=home, paths=[row["img_filename"] for row in chosen]
        )
    return Data(str(home), _CLASSES, splits, Pixels((224, 224)), "resized_crop_flip", _GROUPS)
