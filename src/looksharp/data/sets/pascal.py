"""PASCAL VOC as a multi-label data set, in the devkit's own layout, with its class masks.

From http://host.robots.ox.ac.uk/pascal/VOC/voc2012: VOCtrainval_11-May-2012.tar, which holds VOCdevkit/VOC2012 with
Annotations, ImageSets, JPEGImages and SegmentationClass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args
from xml.etree import ElementTree

import numpy as np
import torch

from looksharp.data.folder import marks_of
from looksharp.data.registry import data_set
from looksharp.data.sets.voc_augmented import augmented_names, class_mask_marks
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import FileSplit
from looksharp.data.tables import read_lines
from looksharp.images.headers import ImageSizes
from looksharp.marks.formats.voc import VOC_CLASSES, voc_folder
from looksharp.marks.mask_images import load_pixels
from looksharp.marks.reading import read_marks

__all__ = ["VocSet", "read_pascal"]

VocSet = Literal["main", "segmentation", "augmented"]
"""VOC's image sets, and those of segmentation with SBD's."""


@data_set("voc")
def read_pascal(root: Path, set: VocSet | None = None) -> Data:
    """Read VOCdevkit/VOC*: splits train and val, 20 classes, masks where SegmentationClass has them.

    The images are those of ImageSets/Main/{train,val}.txt, else of ImageSets/Segmentation, or those of `set`. An
    image's classes come from its XML annotation (objects marked difficult included), else from its class mask.

    Args:
        root: the folder that holds VOCdevkit, or VOCdevkit, or a VOC year's folder.
        set: "main" or "segmentation", the images of that folder of ImageSets; or "augmented", those of
            segmentation, plus in training the images that SBD marks, with its masks (see `voc_augmented`).

    Raises:
        ValueError: if a part of the layout is missing, an image has neither annotation nor mask, or a file is damaged.
    """
    home = voc_folder(root)
    if home is None:
        raise ValueError(f"{root} holds no VOC devkit: no VOCdevkit/VOC* with Annotations or SegmentationClass")
    names = _sets(home, set)
    paths = {name: [f"JPEGImages/{image}.jpg" for image in listed] for name, listed in names.items()}
    everything = [path for listed in paths.values() for path in listed]
    missing = next((path for path in everything if not (home / path).is_file()), None)
    if missing is not None:
        source = "SBD or ImageSets" if set == "augmented" else "ImageSets"
        raise ValueError(f"{home / missing} does not exist, though {source} lists it")
    if set == "augmented":
        return _augmented(home, paths)
    masked = [path for path in everything if _mask_file(home, path).is_file()]
    masks = read_marks(home, ImageSizes(home, masked), VOC_CLASSES) if masked else None
    splits: dict[str, Split] = {}
    for name, listed in paths.items():
        splits[name] = FileSplit(
            targets=torch.stack([_labels(home, path) for path in listed]),
            marks=None if masks is None else marks_of(masks, listed, VOC_CLASSES),
            root=home,
            paths=listed,
        )
    notes = {} if masks is None else dict(masks.skipped)
    notes.pop("image not in the data", None)  # those without a mask and those of the test set: nothing is amiss
    return Data(str(home), tuple(VOC_CLASSES), splits, Pixels((224, 224)), "resized_crop_flip", notes=notes)


def _augmented(home: Path, paths: dict[str, list[str]]) -> Data:
    splits: dict[str, Split] = {}
    for name, listed in paths.items():
        marks = class_mask_marks(home, [Path(path).stem for path in listed])
        targets = torch.zeros(len(listed), len(VOC_CLASSES))
        for sample, label in zip(marks.samples, marks.labels, strict=True):
            targets[sample, label] = 1
        for sample, path in enumerate(listed):
            if (home / "Annotations" / f"{Path(path).stem}.xml").is_file():
                targets[sample] = _labels(home, path)
        splits[name] = FileSplit(targets=targets, marks=marks, root=home, paths=listed)
    return Data(str(home), tuple(VOC_CLASSES), splits, Pixels((224, 224)), "resized_crop_flip")


def _sets(home: Path, chosen: VocSet | None) -> dict[str, list[str]]:
    if chosen not in (None, *get_args(VocSet)):
        raise ValueError(f"set must be one of {', '.join(get_args(VocSet))}; got {chosen!r}")
    kinds = {None: ("Main", "Segmentation"), "main": ("Main",)}.get(chosen, ("Segmentation",))
    names = {split: _names(home, split, kinds) for split in ("train", "val")}
    if chosen == "augmented":
        names["train"] = augmented_names(home, names["train"], names["val"])
    return names


def _names(home: Path, split: str, kinds: tuple[str, ...]) -> list[str]:
    for kind in kinds:
        table = home / "ImageSets" / kind / f"{split}.txt"
        if table.is_file():
            return [line.split()[0] for line in read_lines(table, "a list of VOC")]
    if len(kinds) == 1:
        raise ValueError(f"{home / 'ImageSets' / kinds[0] / split}.txt does not exist")
    raise ValueError(f"{home / 'ImageSets'} has neither Main/{split}.txt nor Segmentation/{split}.txt")


def _mask_file(home: Path, path: str) -> Path:
    return home / "SegmentationClass" / f"{Path(path).stem}.png"


def _labels(home: Path, path: str) -> torch.Tensor:
    """Return the image's classes, multi-hot."""
    annotation, mask = home / "Annotations" / f"{Path(path).stem}.xml", _mask_file(home, path)
    labels = torch.zeros(len(VOC_CLASSES))
    if annotation.is_file():
        try:
            names = [node.findtext("name", "").strip() for node in ElementTree.parse(annotation).iter("object")]
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            raise ValueError(f"{annotation} is not XML: {error}; expected a VOC annotation") from None
        present = [VOC_CLASSES.index(n) for n in names if n in VOC_CLASSES]
    elif mask.is_file():
        present = [int(v) - 1 for v in np.unique(load_pixels(mask)[1]) if 0 < v <= len(VOC_CLASSES)]
    else:
        raise ValueError(f"{home / path} has neither {annotation.name} in Annotations nor a class mask")
    labels[present] = 1
    return labels
