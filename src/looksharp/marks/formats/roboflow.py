"""Roboflow's exports that are no format of marks: named, with the way out."""

from __future__ import annotations

from pathlib import Path

from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.union import MaskUnion

__all__ = ["Roboflow"]

_NAMES = {
    "_annotations.csv": "a TensorFlow CSV",
    "_annotations.createml.json": "CreateML",
    "_annotations.jsonl": "JSONL",
    "_annotations.txt": "YOLO's old list of Keras",
    "_classes.csv": "a list of classes or masks of class indices",
}


@MARK_FORMATS.register("roboflow")
class Roboflow(MarkFormat):
    """An export of Roboflow's that is not read; its COCO, Pascal VOC and YOLO exports are."""

    takes = "Roboflow's COCO, VOC or YOLO export"

    def matches(self, path: Path) -> bool:
        """Match such a file, and a folder with one in it or in a folder of a split."""
        return _found(path) is not None

    def read(self, path: Path, union: MaskUnion) -> None:
        """Refuse the export.

        Raises:
            ValueError: always; it names the export and those that are read.
        """
        file = _found(path) or path
        raise ValueError(
            f"{file} is Roboflow's export as {_NAMES.get(file.name, 'another format')}, which is not read; export "
            f"the project there as COCO, Pascal VOC or YOLO"
        )


def _found(path: Path) -> Path | None:
    if path.is_file():
        return path if path.name in _NAMES else None
    found = (file for name in _NAMES for file in (path / name, *sorted(path.glob(f"*/{name}"))) if file.is_file())
    return next(found, None)
