"""COCO as a multi-label set: 80 classes, with every object outlined (Lin et al. 2014).

From https://cocodataset.org/#download (train2017, val2017 and annotations_trainval2017), unpacked:

    train2017/*.jpg, val2017/*.jpg
    annotations/instances_train2017.json, annotations/instances_val2017.json

The year may be 2014 too. The published test images have no labels and are not read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from looksharp.data.listed import check_files
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import FileSplit
from looksharp.marks.coco_regions import add_region
from looksharp.marks.formats.coco import coco_entries
from looksharp.marks.marks import Marks
from looksharp.marks.regions import MadeMasks
from looksharp.marks.union import Mask, MaskUnion

__all__ = ["read_coco_detection"]

_YEARS = ("2017", "2014")


@dataclass(frozen=True)
class _Outlines:
    """What annotations mark together in an image of `size` (height, width); `where` names them in messages."""

    where: str
    size: tuple[int, int]
    entries: tuple[Mapping[str, Any], ...]

    def mask(self) -> Mask:
        """(H, W); of outlines that are too small for any pixel, none."""
        union = MaskUnion(Path(self.where), {"": self.size}, ())
        for entry in self.entries:
            add_region(dict(entry), "", "", union, self.where)
        return union.masks.get(("", ""), np.zeros(self.size, dtype=bool))


def read_coco_detection(root: Path, size: int = 224) -> Data:
    """Read the splits train and val; an image's classes are those of its objects, which are also its masks.

    Masks come from segmentations, else boxes, made when they are read. Crowds (`iscrowd`) count for the classes of
    their image and are in no mask.

    Args:
        root: the folder that holds annotations and the folders of images.
        size: side to which images are brought.

    Raises:
        ValueError: if a file or an image is missing, a file is no instances file, or a class has no image.
    """
    home = root / "annotations"
    year = next((year for year in _YEARS if (home / f"instances_train{year}.json").is_file()), None)
    if year is None:
        raise ValueError(f"coco was not found in root {root}: there is no {home / 'instances_train2017.json'}")
    notes: Counter[str] = Counter()
    splits: dict[str, Split] = {}
    classes: tuple[str, ...] | None = None
    for name in ("train", "val"):
        splits[name], found = _split(root, name, year, notes)
        if classes is not None and found != classes:
            raise ValueError(f"{home / f'instances_val{year}.json'} has other categories than instances_train{year}")
        classes = found
    return Data(str(root), classes or (), splits, Pixels((size, size)), "resized_crop_flip", notes=dict(notes))


def _split(root: Path, name: str, year: str, notes: Counter[str]) -> tuple[Split, tuple[str, ...]]:
    path = root / "annotations" / f"instances_{name}{year}.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}; expected a COCO instances file") from None
    images = coco_entries(path, content, "images", id=int, file_name=str, height=int, width=int)
    categories = coco_entries(path, content, "categories", id=int, name=str)
    categories.sort(key=lambda entry: int(entry["id"]))
    labels = {entry["id"]: label for label, entry in enumerate(categories)}
    places = {entry["id"]: place for place, entry in enumerate(images)}
    targets = torch.zeros(len(images), len(labels))
    objects: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for entry in coco_entries(path, content, "annotations", image_id=int, category_id=int):
        place, label = places.get(entry["image_id"]), labels.get(entry["category_id"])
        if place is None or label is None:
            raise ValueError(
                f"{path}: annotation {entry.get('id')} has image_id {entry['image_id']} and category_id "
                f"{entry['category_id']}; expected ids of the file's 'images' and 'categories'"
            )
        targets[place, label] = 1
        if entry.get("iscrowd"):
            notes[f"{name}: iscrowd"] += 1
        else:
            _check_region(entry, f"{path}: annotation {entry.get('id')}")
            objects.setdefault((place, label), []).append(entry)
    classes = tuple(str(entry["name"]) for entry in categories)
    for label, found in enumerate(targets.sum(0).tolist()):
        if not found:
            raise ValueError(f"class {classes[label]!r} has no {name} image in {path}")
    if blank := int((targets.sum(1) == 0).sum()):
        notes[f"{name}: image of no class"] = blank
    folder = root / f"{name}{year}"
    paths = [str(entry["file_name"]) for entry in images]
    check_files(folder, paths, path.name)
    masks = MadeMasks(
        _Outlines(
            f"{path}: annotation {entries[0].get('id')}",
            (images[place]["height"], images[place]["width"]),
            tuple(entries),
        )
        for (place, _), entries in objects.items()
    )
    marks = Marks([place for place, _ in objects], [label for _, label in objects], masks)
    return FileSplit(targets=targets, marks=marks, root=folder, paths=paths), classes


def _check_region(entry: Mapping[str, Any], where: str) -> None:
    """Before training: that there is something to make a mask of, if not yet that it fits."""
    if not entry.get("segmentation") and not entry.get("bbox"):
        raise ValueError(f"{where} must have a segmentation or a bbox [x, y, w, h]; add one")
