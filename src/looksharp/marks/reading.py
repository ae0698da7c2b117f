"""Read marks from a file or folder of any known format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from looksharp.marks.formats.coco import read_coco
from looksharp.marks.formats.cvat import read_cvat
from looksharp.marks.formats.labelme import is_labelme, read_labelme
from looksharp.marks.formats.mask_files import read_mask_files
from looksharp.marks.formats.voc import read_voc, voc_folder
from looksharp.marks.formats.yolo import read_yolo, yolo_names
from looksharp.marks.mark import Mark
from looksharp.marks.union import MaskUnion

__all__ = ["ReadMarks", "read_marks"]


@dataclass(frozen=True, eq=False)
class ReadMarks:
    """The marks of a file or folder, and what was left out or changed in reading.

    Attributes:
        marks: one per (image, class) pair, in the file's order; folders in the order of names.
        skipped: how many times each reason (`union.Reason`) came up, counted per COCO annotation, per VOC
            object (or class of a mask), per mask file, per shape or line of the others. All but "clipped to the
            image" and "difficult (used)" were left out.

    """

    marks: tuple[Mark, ...]
    skipped: dict[str, int]


def read_marks(path: Path, images: Mapping[str, tuple[int, int]], classes: Sequence[str]) -> ReadMarks:
    """Read masks or boxes (GAIN, Sec. 3.2 and 5) in the format that `path` has.

    - a .json file: COCO instances, see `coco.read_coco`, or one of LabelMe's;
    - an .xml file, or a folder with annotations.xml: CVAT for images, see `cvat.read_cvat`;
    - a data.yaml, or a folder with it or classes.txt, and labels: YOLO, see `yolo.read_yolo`;
    - a folder with Annotations/ or SegmentationClass/, or VOCdevkit/VOC2012 in it: VOC, see `voc.read_voc`;
    - a folder with LabelMe's .json files: see `labelme.read_labelme`;
    - any other folder: mask images, see `mask_files.read_mask_files`.

    Label Studio's own JSON is told apart and not read: it exports COCO.

    Several instances of a class in an image make one mask. A box becomes the pixels whose centre it holds.

    Args:
        path: the file or folder.
        images: the (height, width) of every image by its path relative to the data folder, POSIX. May be lazy:
            only sizes of marked images are read.
        classes: the data set's class names.

    Raises:
        ValueError: if there is no such path or its content is not of the format, if an annotation does not
            fit its image (other size, box wholly outside) or fits several, or if none can be used.

    Example:
        >>> import json, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "boxes.json"
        ...     _ = path.write_text(json.dumps({
        ...         "images": [{"id": 1, "file_name": "1.png"}],
        ...         "categories": [{"id": 1, "name": "dog"}],
        ...         "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 0, 2, 1]}],
        ...     }))
        ...     found = read_marks(path, {"dog/1.png": (2, 4)}, ["cat", "dog"])
        >>> found.marks[0].image, found.marks[0].label, found.skipped
        ('dog/1.png', 'dog', {})
        >>> found.marks[0].mask.astype(int).tolist()
        [[0, 1, 1, 0], [0, 0, 0, 0]]

    """
    path = Path(path)
    union = MaskUnion(path, images, classes)
    read, source = _reader(path)
    read(source, union)
    union.check_any_left()
    marks = tuple(Mark(image, label, mask) for (image, label), mask in union.masks.items())
    return ReadMarks(marks, {str(reason): count for reason, count in union.skipped.items()})


def _reader(path: Path) -> tuple[Callable[[Path, MaskUnion], None], Path]:
    """What reads the format that a path has, and the file or folder that it reads."""
    suffix = path.suffix.lower()
    if path.is_dir():
        if (voc := voc_folder(path)) is not None:
            return read_voc, voc
        if (path / "annotations.xml").is_file():
            return read_cvat, path / "annotations.xml"
        if yolo_names(path) is not None:
            return read_yolo, path
        first = next(path.rglob("*.json"), None)
        return (read_labelme if first is not None and is_labelme(first) else read_mask_files), path
    if path.is_file() and suffix == ".json":
        _refuse_label_studio(path)
        return (read_labelme if is_labelme(path) else read_coco), path
    if path.is_file() and suffix in (".xml", ".yaml", ".yml"):
        return (read_cvat if suffix == ".xml" else read_yolo), path
    got = f"a {path.suffix or 'nameless'} file" if path.exists() else "no such file or folder"
    raise ValueError(
        f"annotations must be a COCO .json file, a VOC folder or a folder of mask images, got {path} ({got}); correct "
        f"the path, or give a LabelMe .json, CVAT .xml or YOLO .yaml file or the folder of one"
    )


def _refuse_label_studio(path: Path) -> None:
    """Its tasks are a list, with results in them (JSON) or with the annotation's number (JSON-MIN)."""
    content = path.read_bytes()
    names = (b'"annotations"', b'"result"') if b'"annotations"' in content else (b'"annotation_id"',)
    if content.lstrip()[:1] == b"[" and all(name in content for name in names):
        raise ValueError(
            f"{path} is Label Studio's own JSON, which is not read; export the project there as COCO (boxes and "
            f"polygons) or as brush labels to PNG, and give that"
        )
