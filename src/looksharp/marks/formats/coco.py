"""COCO instances: one JSON file with images, categories and annotations."""

from __future__ import annotations

from pathlib import Path
from types import UnionType

from looksharp.marks.coco_regions import add_region
from looksharp.marks.documents import read_json, shown
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.place import Place
from looksharp.marks.union import MaskUnion
from looksharp.marks.values import Entry, listed, mapping

__all__ = ["Coco", "coco_entries"]


@MARK_FORMATS.register("coco")
class Coco(MarkFormat):
    """A COCO instances file: each annotation's segmentation or, where that marks no pixel, its box.

    Polygons become pixels as in pycocotools, but a ring within another that runs the other way round is a hole. Crowds
    (`iscrowd`) stand for a group of objects in one mask; they are left out and counted unless asked for. Images are
    found by path or URL, without the prefix of an upload; ids may be numbers or text.

    A folder is read where it holds Roboflow's exports (_annotations.coco.json), one for each split.
    """

    takes = "a COCO .json file"
    fallback = True

    def matches(self, path: Path) -> bool:
        """Match any .json file that no other format claims, and a folder with Roboflow's exports."""
        return bool(_roboflow(path)) or (path.is_file() and path.suffix.lower() == ".json")

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add a COCO instances file to `union`.

        Raises:
            ValueError: if the file is not such a file, or an annotation does not fit its image.
        """
        for file in _roboflow(path) or [path]:
            _read(file, union)


def _read(path: Path, union: MaskUnion) -> None:
    content = read_json(path, "a COCO instances file")
    for entry in coco_entries(path, content, "images"):
        if "file_name" not in entry and "coco_url" in entry:  # LVIS has the address alone
            entry["file_name"] = entry["coco_url"]
    images = _by_id(path, content, "images", "file_name")
    labels = _by_id(path, content, "categories", "name")
    index = ImageIndex(union.images, references=(entry["file_name"] for entry in images.values()))
    found: dict[str, str | None] = {}  # image id -> image
    annotations = coco_entries(path, content, "annotations", image_id=int | str, category_id=int | str)
    for place, entry in enumerate(annotations):
        where = f"{path}: annotation {entry.get('id', place)!r:.40}"
        image_id, category_id = str(entry["image_id"]), str(entry["category_id"])
        if image_id not in images or category_id not in labels:
            raise ValueError(
                f"{where} has image_id {entry['image_id']!r} and category_id {entry['category_id']!r}; expected "
                f"ids of the file's 'images' and 'categories'; export it again"
            )
        if entry.get("iscrowd") and not union.crowds:
            union.skip("iscrowd", where)
            continue
        if image_id not in found:
            found[image_id] = _find_image(path, images[image_id], index, union)
        image, label = found[image_id], labels[category_id]["name"]
        if image is None:
            union.skip("image not in the data", f"{images[image_id]['file_name']!r} in {where}")
        elif union.knows(label, where):
            add_region(entry, Place(union, image, label, where))


def coco_entries(path: Path, content: object, section: str, **keys: type | UnionType) -> list[Entry]:
    """Return the entries of one section, each a mapping that has `keys` with values of these types.

    Raises:
        ValueError: if the section is missing, an entry lacks a key, or an id comes twice.
    """
    entries = listed(mapping(content).get(section))
    if entries is None:
        found = mapping(content)
        got = f"keys {sorted(found)[:8]}" if found else f"a {type(content).__name__}"
        raise ValueError(
            f"{path} is not a COCO instances file: expected lists 'images', 'annotations' and 'categories', "
            f"got {got}; export as COCO instances"
        )
    for place, entry in enumerate(entries):
        if mapping(entry) is not entry or not all(isinstance(entry.get(key), keys[key]) for key in keys):
            raise ValueError(
                f"{path} is not a COCO instances file: {section}[{place}] must have {' and '.join(keys)}, got "
                f"{shown(entry, 80)}; export as COCO instances"
            )
    if "id" in keys and len({str(entry["id"]) for entry in entries}) < len(entries):
        raise ValueError(f"{path} uses an id twice in {section!r}; expected each id once; export it again")
    return entries


def _by_id(path: Path, content: object, section: str, name: str) -> dict[str, Entry]:
    """Return a section's entries by id; text and numbers of the same digits are the same id."""
    return {str(entry["id"]): entry for entry in coco_entries(path, content, section, id=int | str, **{name: str})}


def _find_image(path: Path, entry: Entry, index: ImageIndex, union: MaskUnion) -> str | None:
    name, height, width = entry["file_name"], entry.get("height"), entry.get("width")
    image = index.find_any(name, str(path))
    if image is not None and height and width:  # some tools leave them out, or write 0
        union.check_size(image, (height, width), f"{path}: image {name!r}")
    return image


def _roboflow(folder: Path) -> list[Path]:
    return sorted(folder.rglob("_annotations.coco.json")) if folder.is_dir() else []
