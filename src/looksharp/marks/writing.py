"""Marks written as a COCO file, which every tool reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from looksharp.files import write_text
from looksharp.marks.mark import Mark

__all__ = ["write_coco"]


def write_coco(
    path: Path,
    marks: Iterable[Mark],
    images: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
) -> None:
    """Write marks as COCO instances: compressed RLE, with box and area, one per (image, class) pair.

    `read_marks` reads the same marks back in the same order. The file lists all `classes`, and of
    the `images` those marked. It appears whole or not at all: it is written beside `path`, then moved there.

    Args:
        path: a .json file in a folder that exists; replaced if it exists.
        marks: at most one per (image, class) pair, with masks that are not empty.
        images: the (height, width) of every image; read for marked images only.
        classes: class names.

    Raises:
        ValueError: if the path is no .json file in an existing folder, or a mark has an image or a
            class that is not given, a mask of another size or type, an empty mask, or the pair of another one.

    """
    path = Path(path)
    if path.suffix.lower() != ".json" or not path.parent.is_dir():
        raise ValueError(f"path must be a .json file in a folder that exists, got {path}; create the folder")
    names = set(images)  # `in images` would read the size of an image in a lazy mapping
    image_ids: dict[str, int] = {}
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for mark in marks:
        image, label, mask = mark.image, mark.label, mark.mask
        where = f"the mark of {image!r} as {label!r}"
        if image not in names or label not in classes or (image, label) in entries:
            raise ValueError(
                f"{where} must be the only one of its pair, for an image in `images` and a class in `classes` "
                f"({', '.join(classes)}); unite the masks of a pair, or add the image or class"
            )
        if mask.shape != tuple(images[image]) or mask.dtype != np.bool_ or not mask.any():
            raise ValueError(
                f"{where} must have a boolean mask of the image's {images[image]} (height, width) with a pixel "
                f"set, got {mask.dtype} {mask.shape} with {np.count_nonzero(mask)}; leave empty masks out"
            )
        runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        entries[image, label] = {
            "id": len(entries) + 1,
            "image_id": image_ids.setdefault(image, len(image_ids) + 1),
            "category_id": classes.index(label) + 1,
            "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
            "bbox": coco_mask.toBbox(runs).tolist(),
            "area": int(coco_mask.area(runs)),
            "iscrowd": 0,
        }
    content = {
        "images": [
            {"id": number, "file_name": image, "height": height, "width": width}
            for image, number in image_ids.items()
            for height, width in [map(int, images[image])]
        ],
        "annotations": list(entries.values()),
        "categories": [{"id": number, "name": name} for number, name in enumerate(classes, 1)],
    }
    write_text(path, json.dumps(content))
