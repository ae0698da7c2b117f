"""Read marks from a file or folder of any known format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from looksharp.marks.mark import Mark
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.union import MaskUnion

__all__ = ["ReadMarks", "format_of", "read_marks"]


@dataclass(frozen=True, eq=False)
class ReadMarks:
    """The marks of a file or folder, and counts of marks left out or changed in reading.

    Attributes:
        marks: one per (image, class) pair, in the file's order; folders in the order of names.
        skipped: how often each reason (`union.Reason`) came up, counted per COCO annotation, per VOC
            object (or class of a mask), per mask file, per shape or line of the others. All but "clipped to the
            image" and "difficult (used)" were left out.

    """

    marks: tuple[Mark, ...]
    skipped: dict[str, int]


def read_marks(
    path: str | Path,
    images: Mapping[str, tuple[int, int]],
    classes: Sequence[str],
    *,
    orientations: Mapping[str, int] | None = None,
    stored: bool = False,
    crowds: bool = False,
) -> ReadMarks:
    """Read masks or boxes (GAIN, Sec. 3.2 and 5) in the format that `path` has, one of `MARK_FORMATS`.

    Several instances of a class in an image make one mask. A box becomes the pixels whose centres it holds.

    Args:
        path: the file or folder.
        images: the (height, width) of every image, upright, by its path relative to the data folder, POSIX. May be
            lazy: only sizes of marked images are read.
        classes: the data set's class names.
        orientations: each image file's EXIF orientation, 1 to 8; may be lazy. Upright where not given.
        stored: True if marks are in coordinates of the pixels as stored, before EXIF turns them; masks are then turned.
        crowds: True if COCO's crowds (`iscrowd`) are marks too.

    Raises:
        ValueError: if there is no such path or its content is not of the format, if a mark does not
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
    union = MaskUnion(path, images, classes, orientations=orientations, stored=stored, crowds=crowds)
    try:
        format_of(path).read(path, union)
    except RecursionError:
        raise ValueError(f"{path} is nested too deep to be read; export it again") from None
    union.check_any_left()
    marks = tuple(Mark(image, label, mask) for (image, label), mask in union.masks.items())
    return ReadMarks(marks, {str(reason): count for reason, count in union.skipped.items()})


def format_of(path: Path) -> MarkFormat:
    """Return the first of `MARK_FORMATS` that matches a path, formats that recognise it with certainty first.

    Raises:
        ValueError: if there is no such path, or no format matches.
    """
    formats = [MARK_FORMATS[name]() for name in sorted(MARK_FORMATS)]
    if path.exists():
        found = next((each for each in sorted(formats, key=lambda each: each.fallback) if each.matches(path)), None)
        if found is not None:
            return found
    got = f"a {path.suffix or 'nameless'} file" if path.exists() else "no such file or folder"
    *first, last = (each.takes for each in formats)
    raise ValueError(f"marks must be {', '.join(first)} or {last}, got {path} ({got}); correct the path")
