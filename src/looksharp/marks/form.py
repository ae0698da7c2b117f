"""Make the COCO file that a person fills in: the images to mark, and earlier marks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from looksharp.marks.documents import read_json
from looksharp.marks.formats.coco import coco_entries

__all__ = ["form_of", "next_id"]


def form_of(path: Path, images: Sequence[tuple[str, tuple[int, int]]], classes: Sequence[str]) -> dict[str, Any]:
    """Return the content of a COCO file with these images and classes.

    Where the file is there already and somebody drew into it, its images, classes and annotations stay as they are,
    and what it lacks is added behind them.

    Args:
        path: the file that is to be written.
        images: name and (height, width) of each image to mark.
        classes: class names.

    Raises:
        ValueError: if the file is there and cannot be read, so that nobody's work is lost.
    """
    before = _drawn(path)
    listed, named = list(before.get("images", [])), list(before.get("categories", []))
    for name, (height, width) in images:
        if name not in {entry["file_name"] for entry in listed}:
            listed.append({"id": next_id(listed), "file_name": name, "height": height, "width": width})
    for name in classes:
        if name not in {entry["name"] for entry in named}:
            named.append({"id": next_id(named), "name": name})
    return before | {"images": listed, "annotations": before.get("annotations", []), "categories": named}


def _drawn(path: Path) -> dict[str, Any]:
    """Return what the file holds if somebody drew into it; nothing if it is not there or still empty."""
    if not path.exists():
        return {}
    try:
        content: dict[str, Any] = read_json(path, "a COCO file")
        coco_entries(path, content, "images", id=int | str, file_name=str)
        coco_entries(path, content, "categories", id=int | str, name=str)
        return content if coco_entries(path, content, "annotations") else {}
    except (ValueError, OSError) as error:
        raise ValueError(f"{error}; it would be overwritten: move {path}, or choose another --out") from None


def next_id(entries: Sequence[dict[str, Any]]) -> int:
    """Return a number above all ids of a section's entries; text of digits is an id too."""
    return max((int(entry["id"]) for entry in entries if str(entry.get("id")).isdecimal()), default=0) + 1
