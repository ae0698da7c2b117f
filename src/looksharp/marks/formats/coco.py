"""COCO instances: one JSON file with images, categories and annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from looksharp.marks.coco_regions import add_region
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.union import MaskUnion

__all__ = ["coco_entries", "read_coco"]


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
