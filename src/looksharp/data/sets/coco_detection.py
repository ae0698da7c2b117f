"""COCO as a multi-label set: 80 classes, with every object outlined (Lin et al. 2014).

From https://cocodataset.org/#download (train2017, val2017 and annotations_trainval2017), unpacked:

    train2017/*.jpg, val2017/*.jpg
    annotations/instances_train2017.json, annotations/instances_val2017.json

The year may be 2014 too. The published test images have no labels and are not read. Your own set in this layout
may have any categories; those without a training image are left out.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from looksharp.data.listed import check_files
from looksharp.data.registry import data_set
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import FileSplit
from looksharp.images.headers import read_size
from looksharp.marks.coco_regions import add_region
from looksharp.marks.documents import read_json
from looksharp.marks.formats.coco import coco_entries
from looksharp.marks.marks import Marks
from looksharp.marks.place import Place
from looksharp.marks.regions import MadeMasks
from looksharp.marks.union import Mask, MaskUnion
from looksharp.marks.values import Entry

__all__ = ["read_coco_detection"]

_YEARS = ("2017", "2014")
_LARGEST = 1 << 28  # pixels; an image of 16,000 x 16,000


@dataclass(frozen=True)
class _Outlines:
    """The region that annotations of one class mark together in an image.

    Attributes:
        where: names them in messages.
        image: the image file.
        size: its (height, width), as the instances file has it; None where it has none.
        entries: the annotations.
    """

    where: str
    image: Path
    size: tuple[int, int] | None
    entries: tuple[Entry, ...]

    def mask(self) -> Mask:
        """Return the mask (H, W); zeros for outlines too small for any pixel.

        Raises:
            ValueError: if the image has another size than the instances file says, or a region does not fit it.
        """
        image, size = str(self.image), read_size(self.image)
        union = MaskUnion(Path(self.where), {image: size}, ())
        if self.size is not None:
            union.check_size(image, self.size, self.where)
        for entry in self.entries:
            add_region(entry, Place(union, image, "", self.where))
        return union.masks.get((image, ""), np.zeros(size, dtype=bool))


@dataclass(frozen=True)
class _Instances:
    """An instances file.

    Attributes:
        path: the file.
        folder: folder of its images.
        images: its images' entries.
        names: its categories' names, in the order of their ids.
        annotations: place of the image, name of the category and the entry of each annotation.
    """

    path: Path
    folder: Path
    images: list[Entry]
    names: tuple[str, ...]
    annotations: list[tuple[int, str, Entry]]


@data_set("coco")
def read_coco_detection(root: Path, classes: list[str] | None = None) -> Data:
    """Read the splits train and val; an image's classes are those of its objects, which are also its masks.

    Masks come from segmentations, else boxes, made when they are read. Crowds (`iscrowd`) count for the classes of
    their image and are in no mask. Categories without a training image are left out and noted.

    Args:
        root: the folder that holds annotations and the folders of images.
        classes: use these categories alone; all that have a training image if not given.

    Raises:
        ValueError: if a file or an image is missing, a file is not an instances file, a requested class has no training
            image, or a used class has no validation image.
    """
    home = root / "annotations"
    year = next((year for year in _YEARS if (home / f"instances_train{year}.json").is_file()), None)
    if year is None:
        raise ValueError(f"coco was not found in root {root}: there is no {home / 'instances_train2017.json'}")
    train, val = (_instances(root, name, year) for name in ("train", "val"))
    if train.names != val.names:
        raise ValueError(f"{val.path} has other categories than instances_train{year}")
    notes: Counter[str] = Counter()
    used = _used(train, classes, notes)
    splits = {"train": _split(train, "train", used, notes), "val": _split(val, "val", used, notes)}
    return Data(str(root), used, splits, Pixels((224, 224)), "resized_crop_flip", notes=dict(notes))


def _instances(root: Path, name: str, year: str) -> _Instances:
    path = root / "annotations" / f"instances_{name}{year}.json"
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    content = read_json(path, "a COCO instances file")
    images = coco_entries(path, content, "images", id=int | str, file_name=str)
    categories = coco_entries(path, content, "categories", id=int | str, name=str)
    categories.sort(key=lambda entry: (len(str(entry["id"])), str(entry["id"])))
    names = {str(entry["id"]): str(entry["name"]) for entry in categories}
    places = {str(entry["id"]): place for place, entry in enumerate(images)}
    annotations = []
    for entry in coco_entries(path, content, "annotations", image_id=int | str, category_id=int | str):
        place, label = places.get(str(entry["image_id"])), names.get(str(entry["category_id"]))
        if place is None or label is None:
            raise ValueError(
                f"{path}: annotation {entry.get('id')!r:.40} has image_id {entry['image_id']!r} and category_id "
                f"{entry['category_id']!r}; expected ids of the file's 'images' and 'categories'"
            )
        annotations.append((place, label, entry))
    return _Instances(path, root / f"{name}{year}", images, tuple(dict.fromkeys(names.values())), annotations)


def _used(train: _Instances, wanted: Collection[str] | None, notes: Counter[str]) -> tuple[str, ...]:
    """Return the classes to train on, in the order of their ids; note those without a training image."""
    shown = {label for _, label, _ in train.annotations}
    for name in wanted or ():
        if name not in train.names:
            close = difflib.get_close_matches(name, train.names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(train.names)}"
            raise ValueError(f"classes names {name!r}, which is no category of {train.path}; {hint}")
        if name not in shown:
            raise ValueError(f"class {name!r} has no train image in {train.path}; leave it out of classes")
    used = tuple(name for name in train.names if name in (shown if wanted is None else wanted))
    if len(used) < 2:
        raise ValueError(f"{train.path} must have two categories or more with images to train on; got {len(used)}")
    empty = [] if wanted is not None else [name for name in train.names if name not in shown]
    if empty:
        more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
        notes[f"train: category without an image, left out ({', '.join(empty[:5])}{more})"] = len(empty)
    return used


def _split(file: _Instances, name: str, classes: Sequence[str], notes: Counter[str]) -> Split:
    labels = {label: place for place, label in enumerate(classes)}
    targets = torch.zeros(len(file.images), len(classes))
    objects: dict[tuple[int, int], list[Entry]] = {}
    for place, label, entry in file.annotations:
        if label not in labels:
            notes[f"{name}: object of a category that is not used"] += 1
            continue
        targets[place, labels[label]] = 1
        if entry.get("iscrowd"):
            notes[f"{name}: iscrowd"] += 1
        else:
            _check_region(entry, f"{file.path}: annotation {entry.get('id')!r:.40}")
            objects.setdefault((place, labels[label]), []).append(entry)
    for label, found in zip(classes, targets.sum(0).tolist(), strict=True):
        if not found:
            raise ValueError(f"class {label!r} has no {name} image in {file.path}")
    if blank := int((targets.sum(1) == 0).sum()):
        notes[f"{name}: image of no class"] = blank
    paths = [str(entry["file_name"]) for entry in file.images]
    check_files(file.folder, paths, file.path.name)
    masks = MadeMasks(_outlines(file, place, entries) for (place, _), entries in objects.items())
    marks = Marks([place for place, _ in objects], [label for _, label in objects], masks)
    return FileSplit(targets=targets, marks=marks, root=file.folder, paths=paths)


def _outlines(file: _Instances, place: int, entries: Sequence[Entry]) -> _Outlines:
    image = file.images[place]
    size = (image.get("height"), image.get("width"))
    where = f"{file.path}: annotation {entries[0].get('id')!r:.40}"
    if not all(size):  # some tools leave them out, or write 0
        return _Outlines(where, file.folder / image["file_name"], None, tuple(entries))
    height, width = size
    if type(height) is not int or type(width) is not int or not 0 < height * width <= _LARGEST or height < 0:
        raise ValueError(
            f"{file.path}: image {image['file_name']!r} must have a height and width of at most {_LARGEST:,} pixels"
        )
    return _Outlines(where, file.folder / image["file_name"], (height, width), tuple(entries))


def _check_region(entry: Entry, where: str) -> None:
    """Check, before training, that there is something to make a mask of, if not yet that it fits."""
    shape, box = entry.get("segmentation"), entry.get("bbox")
    if not shape and not box:
        raise ValueError(f"{where} must have a segmentation or a bbox [x, y, w, h]; add one")
    rings = [*shape, box] if isinstance(shape, list) else [box]
    try:
        finite = all(math.isfinite(sum(map(float, ring))) for ring in rings if ring)
    except (TypeError, ValueError, OverflowError):
        finite = False
    if not finite:
        raise ValueError(f"{where} must have finite numbers of pixels in its segmentation and bbox; correct the file")
