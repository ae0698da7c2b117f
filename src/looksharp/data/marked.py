"""Marked training images: read their marks, and choose some images by seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import torch
from torch import Tensor

from looksharp.data.class_map import listed_classes
from looksharp.data.folder import marks_of
from looksharp.data.mark_names import HeldSizes, names_held_images
from looksharp.data.split import Data, Split
from looksharp.images.headers import ImageSizes
from looksharp.images.orientation import ImageOrientations
from looksharp.marks.mark import Mark
from looksharp.marks.marks import Marks
from looksharp.marks.reading import ReadMarks, read_marks

__all__ = ["MarksChoice", "choose_marked", "few", "mark_notes", "read_marks_of"]


class MarksChoice(Protocol):
    """The settings that are read here; see `MarksConfig`."""

    @property
    def marks(self) -> str | None:
        """Return a file or folder of marks, or "data" for the data set's own marks."""

    @property
    def marked(self) -> float | None:
        """Number or share of the images."""

    @property
    def marked_classes(self) -> Sequence[str] | None:
        """Return the classes whose marks count; all if None."""

    @property
    def mark_boxes(self) -> bool:
        """Return True if masks become boxes."""

    @property
    def marks_orientation(self) -> Literal["upright", "stored"]:
        """Return the marks' coordinates: those of the upright image or of the pixels as stored."""

    @property
    def mark_crowds(self) -> bool:
        """Return True if COCO's crowds are marks."""


def choose_marked(data: Data, choice: MarksChoice, seed: int) -> Data:
    """Return the data set with the marks of its training split replaced by those that a choice names.

    If the choice names no marks, the training split gets none, so that no objective sees masks by accident; the other
    splits keep theirs for measuring.

    Raises:
        ValueError: if there are no marks, or they fit no image.
    """
    train = data.splits["train"]
    if choice.marks is None:
        return _with_marks(data, train, None)
    if choice.marks == "data":
        if train.marks is None or not len(train.marks):
            raise ValueError(f"marks is 'data', but {data.name} has no masks; name a file or folder of marks")
        marks = train.marks
    else:
        marks, notes = _read(Path(choice.marks), train, data, choice)
        data = replace(data, notes=data.notes | notes)
    if choice.marked_classes is not None:
        marks = _of_classes(marks, choice.marked_classes, data.classes)
    marks = marks.restricted(few(marks.images, choice.marked, len(train), seed))
    return _with_marks(data, train, marks.as_boxes() if choice.mark_boxes else marks)


def few(images: Sequence[int], wanted: float | None, total: int, seed: int) -> list[int]:
    """Return `wanted` of the images, drawn by seed: a number of them, a share of `total` if below 1, or all if None.

    Raises:
        ValueError: if there are not that many.
    """
    if wanted is None:
        return list(images)
    count = round(wanted * total) if wanted < 1 else round(wanted)
    if not 0 < count <= len(images):
        raise ValueError(f"marked is {wanted:g}, which makes {count} images; {len(images)} are marked")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(images[place] for place in order[:count])


def read_marks_of(path: Path, root: Path, images: Iterable[str], data: Data, choice: MarksChoice) -> ReadMarks:
    """Read the marks of image files.

    Args:
        path: a file or folder of marks.
        root: the folder of the images.
        images: their paths below it.
        data: the data set; marks may name its classes, or those that were mapped to them.
        choice: settings of how to read the marks.

    Raises:
        ValueError: as `read_marks`.
    """
    paths = list(images)
    return _read_marks(path, ImageSizes(root, paths), data, choice, ImageOrientations(root, paths))


def _read_marks(
    path: Path,
    sizes: Mapping[str, tuple[int, int]],
    data: Data,
    choice: MarksChoice,
    orientations: Mapping[str, int] | None = None,
) -> ReadMarks:
    found = read_marks(
        path,
        sizes,
        tuple(dict.fromkeys([*data.classes, *data.sources])),
        orientations=orientations,
        stored=choice.marks_orientation == "stored",
        crowds=choice.mark_crowds,
    )
    return _renamed(found, data) if data.sources else found


def _renamed(found: ReadMarks, data: Data) -> ReadMarks:
    """Return marks with the classes that their names were mapped to; those of an image that become one are united."""
    masks: dict[tuple[str, str], Mark] = {}
    for mark in found.marks:
        label = mark.label if mark.label in data.classes else data.sources[mark.label]
        if label is None:
            continue
        known = masks.get((mark.image, label))
        mask = mark.mask if known is None else known.mask | mark.mask
        masks[mark.image, label] = Mark(mark.image, label, mask)
    return ReadMarks(tuple(masks.values()), found.skipped)


def mark_notes(found: ReadMarks, marks: Marks, targets: Tensor) -> dict[str, int]:
    """Count remarks on marks: those left out, and those of classes that their images lack.

    Args:
        found: the marks as read.
        marks: marks of a split.
        targets: the split's (N,) classes, or (N, classes) multi-hot.
    """
    notes = {f"marks: {reason}": count for reason, count in found.skipped.items()}
    rows, labels = torch.tensor(marks.samples, dtype=torch.long), torch.tensor(marks.labels, dtype=torch.long)
    fits = targets[rows] == labels if targets.ndim == 1 else targets[rows, labels] > 0.5
    others = int((~fits).sum())
    return notes | ({"marks: of a class that the image is not labelled with (used)": others} if others else {})


def _read(path: Path, train: Split, data: Data, choice: MarksChoice) -> tuple[Marks, dict[str, int]]:
    if train.folder is not None:
        names, found = train.names, read_marks_of(path, train.folder, train.names, data, choice)
    elif names_held_images(path):
        sizes = HeldSizes(train)
        names, found = list(sizes), _read_marks(path, sizes, data, choice)
    else:
        raise ValueError(f"marks from {path} need images that are files; {data.name} is not an image folder")
    marks = marks_of(found, names, data.classes)
    return marks, mark_notes(found, marks, train.targets)


def _of_classes(marks: Marks, wanted: Sequence[str], classes: Sequence[str]) -> Marks:
    unknown = next((name for name in wanted if name not in classes), None)
    if unknown is not None:
        raise ValueError(f"marked_classes names {unknown!r}, which is not one of the classes {listed_classes(classes)}")
    rows = [row for row, label in enumerate(marks.labels) if classes[label] in wanted]
    if not rows:
        raise ValueError(f"marked_classes is {', '.join(wanted) or 'empty'}, but no mark is of such a class")
    return marks.taken(rows)


def _with_marks(data: Data, train: Split, marks: Marks | None) -> Data:
    return replace(data, splits=data.splits | {"train": replace(train, marks=marks)})
