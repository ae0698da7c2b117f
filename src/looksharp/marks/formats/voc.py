"""PASCAL VOC: class masks in SegmentationClass, boxes in XML files in Annotations or beside the images."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import numpy as np

from looksharp.marks.documents import read_xml
from looksharp.marks.image_index import ImageIndex, original_names
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.mask_images import load_pixels
from looksharp.marks.union import MaskUnion

__all__ = ["VOC_CLASSES", "Voc", "voc_folder"]

VOC_CLASSES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person pottedplant "
    "sheep sofa train tvmonitor".split()
)
_VOID = 255


@MARK_FORMATS.register("voc")
class Voc(MarkFormat):
    """A VOC folder: an image's class mask where there is one, else its boxes.

    A file's ID is the stem of its image's name. Class k of a mask is the k-th of `VOC_CLASSES`; 255 is void and
    belongs to none. Boxes are in pixels from 1, the last one included; they may have classes of any name.
    """

    takes = "a VOC folder"

    def matches(self, path: Path) -> bool:
        """Match a folder with Annotations or SegmentationClass, VOCdevkit/VOC2012 in it, or VOC's XML files."""
        return path.is_dir() and (voc_folder(path) is not None or bool(_loose_files(path)))

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add a VOC folder to `union`.

        Raises:
            ValueError: if a file is damaged, its ID fits several images, or it does not fit its image.
        """
        folder = voc_folder(path) or path
        listed = [*folder.glob("Annotations/*.xml")] or _loose_files(folder)
        boxes = {file.stem: file for file in listed}
        masks = {file.stem: file for file in folder.glob("SegmentationClass/*.png")}
        index = ImageIndex(union.images, key=lambda image: PurePosixPath(image).stem)
        for name in sorted(boxes.keys() | masks.keys()):
            file = masks.get(name) or boxes[name]
            found = (index.find(each, str(file)) for each in original_names(name))
            image = next((image for image in found if image is not None), None)
            if image is None:
                union.skip("image not in the data", f"{name!r} of {file}")
            elif name in masks:
                _add_classes(file, image, union)
            else:
                _add_boxes(file, image, union)


def voc_folder(path: Path) -> Path | None:
    """Return the folder in or below `path` that holds Annotations or SegmentationClass, as VOCdevkit/VOC2012 does.

    Raises:
        ValueError: if there are several years.
    """
    candidates = (path, *sorted(path.glob("VOC[0-9]*")), *sorted(path.glob("VOCdevkit/VOC[0-9]*")))
    found = [
        folder for folder in candidates if (folder / "Annotations").is_dir() or (folder / "SegmentationClass").is_dir()
    ]
    if len(found) > 1:
        raise ValueError(f"{path} must hold one VOC year, got {found[0]} and {found[1]}; give the folder of one")
    return found[0] if found else None


def _loose_files(folder: Path) -> list[Path]:
    """Return VOC's XML files below a folder, as Roboflow and labelImg lay them beside the images."""
    files = sorted(file for file in folder.rglob("*.xml") if file.is_file())
    if not files:
        return []
    with files[0].open("rb") as opened:
        return files if b"<annotation>" in opened.read(4096) else []


def _add_classes(file: Path, image: str, union: MaskUnion) -> None:
    mode, indices = load_pixels(file)
    present = [int(index) for index in np.unique(indices) if index not in (0, _VOID)] if mode[0] in "PL" else []
    if mode[0] not in "PL" or max(present, default=0) > len(VOC_CLASSES):
        got = f"index {max(present)}" if mode[0] in "PL" else f"pixels of mode {mode}"
        raise ValueError(
            f"{file} must hold class indices: 0 background, 1 to {len(VOC_CLASSES)}, 255 void; got {got}; save "
            f"VOC's indices as a palette PNG, or give masks of other classes as COCO"
        )
    if not present:
        union.skip("empty mask", str(file))
    for index in present:
        label = VOC_CLASSES[index - 1]
        if union.knows(label, str(file)):
            union.add_mask(image, label, indices == index, str(file))


def _add_boxes(file: Path, image: str, union: MaskUnion) -> None:
    root = read_xml(file, "a VOC annotation")
    height, width = _number(root, "size/height"), _number(root, "size/width")
    if height and width:  # some tools leave them out, or write 0
        union.check_size(image, (height, width), str(file))
    for number, item in enumerate(root.findall("object"), 1):
        where = f"{file}: object {number}"
        label = (item.findtext("name") or "").strip()
        if not union.knows(label, where):
            continue
        # Of the object itself: its <part> elements have boxes of their own
        left, top, right, bottom = (_number(item, f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax"))
        if left is None or top is None or right is None or bottom is None:
            raise ValueError(f"{where} must have a bndbox with numbers xmin, ymin, xmax and ymax; add them")
        used = union.add_box(image, label, (left - 1, top - 1, right, bottom), where)
        if used and _number(item, "difficult"):
            union.skip("difficult (used)", where)


def _number(element: ElementTree.Element, path: str) -> float | None:
    """Return a number; None if it is missing or text."""
    try:
        return float(element.findtext(path) or "")
    except ValueError:
        return None
