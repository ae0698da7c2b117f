"""COCO instances: one JSON file with images, categories and annotations."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from looksharp.marks.coco_regions import add_region
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.union import MaskUnion

if TYPE_CHECKING:
    from looksharp.marks.reading import Annotation

__all__ = ["coco_entries", "read_coco", "write_coco"]


def read_coco(path: Path, union: MaskUnion) -> None:
    """Add what a COCO instances file holds to `union`: an annotation's segmentation, else its box.

    Polygons become pixels as in pycocotools. Regions with `iscrowd` stand for a group whose members
    nobody told apart; they are left out and counted.

    Raises:
        ValueError: if the file is not such a file, or an annotation does not fit its image.

    """
    try:
        content = json.loads(path.read_bytes())
    except ValueError as exc:
        raise ValueError(f"{path} is not JSON: {exc}; expected a COCO instances file; export it again") from exc
    images = {entry["id"]: entry for entry in coco_entries(path, content, "images", id=int | str, file_name=str)}
    labels = {entry["id"]: entry["name"] for entry in coco_entries(path, content, "categories", id=int | str, name=str)}
    index = ImageIndex(union.images)
    found: dict[int | str, str | None] = {}  # image id -> image
    annotations = coco_entries(path, content, "annotations", image_id=int | str, category_id=int | str)
    for place, entry in enumerate(annotations):
        where = f"{path}: annotation {entry.get('id', place)}"
        image_id, category_id = entry["image_id"], entry["category_id"]
        if image_id not in images or category_id not in labels:
            raise ValueError(
                f"{where} has image_id {image_id!r} and category_id {category_id!r}; expected ids of the file's "
                f"'images' and 'categories'; export it again"
            )
        if entry.get("iscrowd"):
            union.skip("iscrowd", where)
            continue
        if image_id not in found:
            found[image_id] = _find_image(path, images[image_id], index, union)
        image = found[image_id]
        if image is None:
            union.skip("image not in the data", f"{images[image_id]['file_name']!r} in {where}")
        elif union.knows(labels[category_id], where):
            add_region(entry, image, labels[category_id], union, where)


def write_coco(
    path: Path,
    annotations: Iterable[Annotation],
    images: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
) -> None:
    """Write annotations as COCO instances: compressed RLE, with box and area, one per (image, class) pair.

    `read_annotations` gives back the same annotations in the same order. The file lists all `classes`, and of
    the `images` those annotated. It appears whole or not at all: it is written beside `path`, then moved there.

    Args:
        path: a .json file in a folder that exists; replaced if it exists.
        annotations: at most one per (image, class) pair, with masks that are not empty.
        images: the (height, width) of every image; read for annotated images only.
        classes: class names.

    Raises:
        ValueError: if the path is no .json file in an existing folder, or an annotation has an image or a
            class that is not given, a mask of another size or type, an empty mask, or the pair of another one.

    """
    path = Path(path)
    if path.suffix.lower() != ".json" or not path.parent.is_dir():
        raise ValueError(f"path must be a .json file in a folder that exists, got {path}; create the folder")
    names = set(images)  # `in images` would read the size of an image in a lazy mapping
    image_ids: dict[str, int] = {}
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for annotation in annotations:
        image, label, mask = annotation.image, annotation.label, annotation.mask
        where = f"the annotation of {image!r} as {label!r}"
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
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        part.write_text(json.dumps(content), encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def coco_entries(path: Path, content: Any, section: str, **keys: Any) -> list[dict[str, Any]]:
    """The entries of one section, each a mapping that has `keys` with values of these types."""
    entries = content.get(section) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        got = f"keys {sorted(content)[:8]}" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise ValueError(
            f"{path} is not a COCO instances file: expected lists 'images', 'annotations' and 'categories', "
            f"got {got}; export as COCO instances"
        )
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), keys[key]) for key in keys):
            raise ValueError(
                f"{path} is not a COCO instances file: {section}[{place}] must have {' and '.join(keys)}, got "
                f"{str(entry)[:80]}; export as COCO instances"
            )
    if "id" in keys and len({entry["id"] for entry in entries}) < len(entries):
        raise ValueError(f"{path} uses an id twice in {section!r}; expected each id once; export it again")
    return entries


def _find_image(path: Path, entry: dict[str, Any], index: ImageIndex, union: MaskUnion) -> str | None:
    name = entry["file_name"]
    image = index.find(name, str(path))
    if image is not None and entry.get("height") and entry.get("width"):  # some tools leave them out, or write 0
        union.check_size(image, (entry["height"], entry["width"]), f"{path}: image {name!r}")
    return image
