"""Which training images are guided: annotations read, and a few of them chosen by seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch

from looksharp.data.folder import ImageSizes, marks_of
from looksharp.data.split import Data, Split
from looksharp.data.splits.files import FileSplit
from looksharp.marks.marks import Marks
from looksharp.marks.reading import read_marks

__all__ = ["MarksChoice", "choose_marked", "few"]


class MarksChoice(Protocol):
    """The settings that are read here; see `GuidanceConfig`."""

    @property
    def guidance(self) -> str | None:
        """Annotations."""

    @property
    def guided(self) -> float | None:
        """How many images."""

    @property
    def guided_classes(self) -> Sequence[str] | None:
        """Names of the classes that are guided."""

    @property
    def guidance_boxes(self) -> bool:
        """Whether masks become boxes."""


def choose_marked(data: Data, choice: MarksChoice, seed: int) -> Data:
    """The data set with the pairs of its training split replaced by those that guide.

    Without guidance the training split has none, so that no objective sees masks by accident; the other splits
    keep theirs, to measure.

    Raises:
        ValueError: if annotations are asked for that are not there, or that fit no image.
    """
    train = data.splits["train"]
    if choice.guidance is None:
        return _with_marks(data, train, None)
    if choice.guidance == "data":
        if train.marks is None or not len(train.marks):
            raise ValueError(f"guidance is 'data', but {data.name} has no masks; name a file or folder of annotations")
        marks = train.marks
    else:
        marks = _read(Path(choice.guidance), train, data)
    if choice.guided_classes is not None:
        marks = _of_classes(marks, choice.guided_classes, data.classes)
    marks = marks.restricted(few(marks.images, choice.guided, len(train), seed))
    return _with_marks(data, train, marks.as_boxes() if choice.guidance_boxes else marks)


def few(images: Sequence[int], wanted: float | None, total: int, seed: int) -> list[int]:
    """`wanted` of the images, drawn by seed: a number of them, a share of `total` if below 1, or all if None.

    Raises:
        ValueError: if there are not that many.
    """
    if wanted is None:
        return list(images)
    count = round(wanted * total) if wanted < 1 else round(wanted)
    if not 0 < count <= len(images):
        raise ValueError(f"guided is {wanted:g}, which makes {count} images; {len(images)} are annotated")
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(images[place] for place in order[:count])


def _read(path: Path, train: Split, data: Data) -> Marks:
    files = getattr(train, "paths", None)
    if not isinstance(train, FileSplit) or files is None:
        raise ValueError(f"guidance from {path} needs images that are files; {data.name} is not an image folder")
    found = read_marks(path, ImageSizes(train.root, list(files)), data.classes)
    data.notes.update({f"guidance: {reason}": count for reason, count in found.skipped.items()})
    return marks_of(found, list(files), data.classes)


def _of_classes(marks: Marks, wanted: Sequence[str], classes: Sequence[str]) -> Marks:
    unknown = next((name for name in wanted if name not in classes), None)
    if unknown is not None:
        raise ValueError(f"guided_classes names {unknown!r}, which is not one of the classes {', '.join(classes)}")
    rows = [row for row, label in enumerate(marks.labels) if classes[label] in wanted]
    if not rows:
        raise ValueError(f"guided_classes is {', '.join(wanted) or 'empty'}, but no annotation is of such a class")
    return marks.taken(rows)


def _with_marks(data: Data, train: Split, marks: Marks | None) -> Data:
    return replace(data, splits=data.splits | {"train": replace(train, marks=marks)})
