"""Marks written as a COCO file, which every tool reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as coco_mask

from looksharp.files import write_text
from looksharp.marks.mark import Mark
from looksharp.marks.union import Mask
from looksharp.marks.values import Entry

__all__ = ["mask_region", "write_coco"]


def write_coco(
    path: Path,
    marks: Iterable[Mark],
    images: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
) -> None:
    """Write marks as COCO instances: compressed RLE, with box and area, one per (image, class) pair.

    `read_marks` reads the same marks back in the same order. The file lists all `classes`, and the marked ones of
    `images`. It appears whole or not at all.

    Args:
        path: a .json file in a folder that exists; replaced if it exists.
        marks: at most one per (image, class) pair, with masks that are not empty.
        images: the (height, width) of every image; read for marked images only.
        classes: class names.

    Raises:
        ValueError: if the path is no .json file in an existing folder, or a mark has an image or a
            class that is not given, a mask of another size or type, an empty mask, or the same pair as another mark.

    """
    path = Path(path)
    if path.suffix.lower() != ".json" or not path.parent.is_dir():
        raise ValueError(f"path must be a .json file in a folder that exists, got {path}; create the folder")
    names = set(images)  # `in images` would read the size of an image in a lazy mapping
    image_ids: dict[str, int] = {}
    entries: dict[tuple[str, str], Entry] = {}
    for mark in marks:
        pair = mark.image, mark.label
        if mark.image not in names or mark.label not in classes or pair in entries:
            raise ValueError(
                f"the mark of {mark.image!r} as {mark.label!r} must be the only one of its pair, for an image in "
                f"`images` and a class in `classes` ({', '.join(classes)}); unite the masks of a pair, or add the "
                f"image or class"
            )
        number = image_ids.setdefault(mark.image, len(image_ids) + 1)
        ids = {"id": len(entries) + 1, "image_id": number, "category_id": classes.index(mark.label) + 1}
        entries[pair] = ids | _region(mark, images[mark.image])
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


def _region(mark: Mark, size: tuple[int, int]) -> Entry:
    """Return a mark's mask as COCO writes it."""
    mask = mark.mask
    if mask.shape != tuple(size) or mask.dtype != np.bool_ or not mask.any():
        raise ValueError(
            f"the mark of {mark.image!r} as {mark.label!r} must have a boolean mask of the image's {size} (height, "
            f"width) with a pixel set, got {mask.dtype} {mask.shape} with {np.count_nonzero(mask)}; leave empty masks "
            f"out"
        )
    return mask_region(mask)


def mask_region(mask: Mask) -> Entry:
    """Return what a COCO annotation says of a mask (H, W): compressed RLE, with box and area.

    Example:
        >>> mask_region(np.array([[False, True], [False, True]]))["bbox"]
        [1.0, 0.0, 1.0, 2.0]

    """
    runs = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
        "bbox": coco_mask.toBbox(runs).tolist(),
        "area": int(coco_mask.area(runs)),
        "iscrowd": 0,
    }
