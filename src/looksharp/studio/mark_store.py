"""The marks of a studio: one COCO file, written whole at every stroke."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from looksharp.files import write_text
from looksharp.marks.coco_regions import add_region
from looksharp.marks.documents import read_json
from looksharp.marks.form import form_of, next_id
from looksharp.marks.formats.coco import coco_entries
from looksharp.marks.image_index import ImageIndex
from looksharp.marks.mark import Mark
from looksharp.marks.place import Place
from looksharp.marks.union import Mask, MaskUnion
from looksharp.marks.values import Entry, text
from looksharp.marks.writing import mask_region
from looksharp.studio.strokes import Stroke, stroke_region

__all__ = ["MarkStore"]

_TOOL = "tool"
"""Key of an annotation that was drawn here; its value names the tool. Readers of COCO pass over it."""
_PATIENCE = 10.0  # seconds that another process may hold the file


class MarkStore:
    """Marks of some images in a COCO file that `--marks` reads.

    The file is the only truth: every change reads it again under a lock, adds or takes one annotation, and replaces it
    whole. So a kill at any moment loses nothing that was acknowledged, and what another process or tool wrote into the
    file stays.

    Args:
        path: the file; its folder is made when the first stroke is written.
        images: the (height, width) of every image, upright, by the name that marks give it; may be lazy.
        classes: class names.
    """

    def __init__(self, path: Path, images: Mapping[str, tuple[int, int]], classes: Sequence[str]) -> None:
        self.path, self.images, self.classes = path, images, tuple(classes)
        self._taken: list[tuple[str, Entry]] = []  # what was taken back since the last stroke, with its image

    def add(self, image: str, label: str, stroke: Stroke) -> None:
        """Add a stroke to an image's marks of a class.

        Raises:
            ValueError: if it marks no pixel, there is no such image or class, or the file is damaged or in use.
        """
        self._check(image, label)
        region = stroke_region(stroke, self.images[image])
        where = f"the {stroke.tool}"
        union = MaskUnion(self.path, {image: self.images[image]}, self.classes)
        add_region(region, Place(union, image, label, where))
        if not union.masks:
            raise ValueError(f"{where} holds no pixel of the image: draw a larger one, inside it")
        self._append([(image, label, region | {_TOOL: stroke.tool})])

    def add_mask(self, image: str, label: str, mask: Mask, tool: str = "proposal") -> None:
        """Add a mask (H, W) of the image's own size, such as an accepted proposal; as `add`."""
        self._check(image, label)
        if mask.shape != tuple(self.images[image]) or not mask.any():
            raise ValueError(f"the {tool} must be a mask of the image's size that holds a pixel; got {mask.shape}")
        self._append([(image, label, mask_region(mask) | {_TOOL: tool})])

    def add_marks(self, marks: Iterable[Mark]) -> int:
        """Add marks that were read from elsewhere; return how many were not there already.

        Raises:
            ValueError: as `add`.
        """
        entries = [(mark.image, mark.label, mask_region(mark.mask) | {_TOOL: "import"}) for mark in marks]
        for image, label, _ in entries:
            self._check(image, label)
        return self._append(entries)

    def undo(self, image: str) -> str | None:
        """Take back the last annotation of an image that was drawn here; return its tool, None if there is none.

        Raises:
            ValueError: if the file is damaged or in use.
        """
        with self._locked():
            content = self._content()
            ids = self._ids(content, image)
            own = [e for e in content["annotations"] if text(e.get(_TOOL)) and str(e.get("image_id")) in ids]
            if not own:
                return None
            content["annotations"] = [entry for entry in content["annotations"] if entry is not own[-1]]
            self._write(content)
            self._taken.append((image, own[-1]))
            return str(own[-1][_TOOL])

    def redo(self, image: str) -> str | None:
        """Put back the last annotation that was taken back of an image, if nothing was added since; return its tool.

        Raises:
            ValueError: if the file is damaged or in use.
        """
        taken = next((each for each in reversed(self._taken) if each[0] == image), None)
        if taken is None:
            return None
        with self._locked():
            content = self._content()
            content["annotations"].append(taken[1] | {"id": next_id(content["annotations"])})
            self._write(content)
        self._taken.remove(taken)
        return str(taken[1][_TOOL])

    def masks(self, image: str) -> dict[str, Mask]:
        """Return class -> mask (H, W) of an image, as training will read them.

        Raises:
            ValueError: if the file is damaged.
        """
        content = self._content()
        names = {str(entry["id"]): entry["name"] for entry in content["categories"]}
        ids = self._ids(content, image)
        union = MaskUnion(self.path, {image: self.images[image]}, self.classes)
        for entry in content["annotations"]:
            label = names.get(str(entry.get("category_id")))
            if str(entry.get("image_id")) in ids and label in union.classes and not entry.get("iscrowd"):
                where = f"{self.path}: annotation {entry.get('id')!r:.40}"
                add_region(entry, Place(union, image, str(label), where))
        return {label: mask for (_, label), mask in union.masks.items()}

    def marked(self) -> set[str]:
        """Return names of the images that have an annotation.

        Raises:
            ValueError: if the file is damaged.
        """
        content = self._content()
        used = {str(entry.get("image_id")) for entry in content["annotations"]}
        found = (self._name(entry) for entry in content["images"] if str(entry["id"]) in used)
        return {name for name in found if name is not None}

    def _append(self, entries: Sequence[tuple[str, str, Entry]]) -> int:
        """Add annotations, and write the file if any of them is new."""
        sizes = {image: self.images[image] for image, _, _ in entries}
        with self._locked():
            content = form_of(self.path, list(sizes.items()), self.classes)
            images = {entry["file_name"]: entry["id"] for entry in content["images"]}
            labels = {entry["name"]: entry["id"] for entry in content["categories"]}
            drawn = content["annotations"]
            known = {_key(entry) for entry in drawn}
            number, before = next_id(drawn), len(drawn)
            for image, label, region in entries:
                entry = {"id": number, "image_id": images[image], "category_id": labels[label]} | region
                if region[_TOOL] != "import" or _key(entry) not in known:
                    drawn.append(entry)
                    number += 1
            if len(drawn) > before:
                self._write(content)
                self._taken.clear()
            return len(drawn) - before

    def _check(self, image: str, label: str) -> None:
        if image not in self.images or label not in self.classes:
            raise ValueError(f"there is no image {image!r:.80} with a class {label!r:.80} to mark")

    def _content(self) -> dict[str, Any]:
        """Return the file's content; an empty one if there is no file."""
        if not self.path.exists():
            return {"images": [], "annotations": [], "categories": []}
        content: dict[str, Any] = read_json(self.path, "marks in COCO's form")
        coco_entries(self.path, content, "images", id=int | str, file_name=str)
        coco_entries(self.path, content, "categories", id=int | str, name=str)
        coco_entries(self.path, content, "annotations")
        return content

    def _ids(self, content: Mapping[str, Any], image: str) -> set[str]:
        return {str(entry["id"]) for entry in content["images"] if self._name(entry) == image}

    def _name(self, entry: Entry) -> str | None:
        """Return which image an entry of `images` means; other tools may write a part of its path."""
        try:
            return self._index.find(entry["file_name"], str(self.path))
        except ValueError:  # several fit
            return None

    @cached_property
    def _index(self) -> ImageIndex:
        return ImageIndex(self.images)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_PATIENCE):
                yield
        except Timeout:
            raise ValueError(f"another process has written {self.path} for {_PATIENCE:.0f} s: end it") from None

    def _write(self, content: Mapping[str, Any]) -> None:
        write_text(self.path, json.dumps(content, ensure_ascii=False) + "\n")


def _key(entry: Entry) -> str:
    """Return what is equal for annotations of the same pixels of the same image as the same class."""
    return json.dumps([str(entry.get(name)) for name in ("image_id", "category_id", "segmentation", "bbox")])
