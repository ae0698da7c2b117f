"""Divide marked images between training and proof."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from looksharp.data.folder import marks_of
from looksharp.data.marked import choose_marked, mark_notes, read_marks_of
from looksharp.data.split import Data, Split
from looksharp.data.splits.files import FileSplit
from looksharp.files import replacing
from looksharp.images.headers import ImageSizes
from looksharp.marks.mark import Mark
from looksharp.marks.marks import Marks
from looksharp.marks.writing import write_coco
from looksharp.training.settings import MarksConfig

__all__ = ["HELD_OUT", "DividedMarks", "choose_marks", "other_splits", "provable"]

HELD_OUT = "held-out marks"
"""Name of the split of held-out marked images."""

_NO_PROOF = (
    "There is no proof: all marked images are used in training. A proof needs at least two other marked images of each "
    "of two classes, and about sixty to tell a remainder of five points from none. Mark test or validation images too, "
    "or more training images."
)


@dataclass(frozen=True)
class DividedMarks:
    """Marked images, divided between training and proof.

    Attributes:
        data: the data set; its training split has the marks to train with.
        settings: settings that read these marks.
        marked: number of marked images to train with.
        proofs: split -> images, some or all of them with marks; training uses none of these marks.
        note: an explanation of the division; "" where there was nothing to divide.
    """

    data: Data
    settings: MarksConfig
    marked: int
    proofs: dict[str, Split]
    note: str = ""


def choose_marks(data: Data, choice: MarksConfig, seed: int, out: Path) -> DividedMarks:
    """Read the marks, choose those to train with, and find splits for the proof.

    The proof is made on every test or validation split that has masks. Where none has enough of them, a quarter of
    the marked training images of each class (at least two, at most half) is held out for the proof.

    Where images are files, the marks to train with are written to OUT/marks.json, as a record.

    Args:
        data: the data set, with whatever masks it has itself.
        choice: the marks to use.
        seed: seed for drawing the marks to train with, where `marked` gives their number, and those held out.
        out: the cure's folder.

    Raises:
        ValueError: if there are no marks or too few, or `out` holds other marks.
    """
    if choice.marks != "data" and data.splits["train"].folder is not None:
        data = _with_marks(data, data.splits["train"], Path(str(choice.marks)), choice)
        choice = replace(choice, marks="data")
    data = choose_marked(data, choice, seed)
    proofs, note = {name: split for name, split in other_splits(data).items() if provable(split)}, ""
    train = data.splits["train"]
    assert train.marks is not None
    if not proofs and train.folder is not None:
        marked = len(train.marks.images)
        chosen = _quarter(train.marks, seed)
        others = [split for split in other_splits(data).values() if split.folder is not None and split.marks]
        held_out = _gathered([(train, chosen), *((split, split.marks.images) for split in others if split.marks)])
        if provable(held_out):
            proofs = {HELD_OUT: held_out}
            kept = train.marks.restricted(place for place in train.marks.images if place not in set(chosen))
            train = replace(train, marks=kept)
            note = _held_out_note(len(chosen), marked, len(held_out) - len(chosen))
    assert train.marks is not None
    count = len(train.marks.images)
    if count < 2:
        raise ValueError(f"a cure needs at least 2 marked training images; got {count}: mark more")
    if train.folder is not None:
        choice = replace(
            choice,
            marks=str(_write(train, train.marks, data.classes, out)),
            marked=None,
            marks_orientation="upright",
        )
    data = replace(data, splits=data.splits | {"train": train})
    return DividedMarks(data, choice, count, proofs, note if proofs else _NO_PROOF)


def _with_marks(data: Data, train: Split, path: Path, choice: MarksConfig) -> Data:
    """Return the data set with the marks of a file or folder on all splits that have none of their own."""
    assert train.folder is not None
    files = {name: split for name, split in data.splits.items() if split.folder == train.folder}
    everything = [path for split in files.values() for path in split.names]
    try:
        found = read_marks_of(path, train.folder, everything, data, choice)
    except ValueError:  # names that are unique among training images alone
        found = read_marks_of(path, train.folder, train.names, data, choice)
        files = {"train": train}
    splits: dict[str, Split] = {
        name: replace(split, marks=marks_of(found, split.names, data.classes))
        for name, split in files.items()
        if name == "train" or not split.marks
    }
    marks = splits["train"].marks
    if not marks:
        raise ValueError(f"{path} marks no training image of {data.name}; mark some")
    notes = mark_notes(found, marks, train.targets)
    return replace(data, splits=data.splits | splits, notes=data.notes | notes)


def other_splits(data: Data) -> dict[str, Split]:
    """Return the test splits, then the validation split unless it is one of them."""
    others = {name: split for name, split in data.splits.items() if name not in ("train", "val")}
    val = data.splits["val"]
    files = val.folder is not None
    if not any(s is val or (files and s.folder == val.folder and s.names == val.names) for s in others.values()):
        others["val"] = val
    return others


def provable(split: Split) -> bool:
    """Tell whether surroundings can be exchanged within and across classes: two classes with two marked images each."""
    marks, targets = split.marks, split.targets
    if not marks:
        return False
    objects = set(zip(marks.labels, marks.samples, strict=True))
    images = Counter(
        label
        for label, image in objects
        if (targets[image] == label if targets.ndim == 1 else targets[image, label] > 0.5)
    )
    return sum(count >= 2 for count in images.values()) >= 2


def _quarter(marks: Marks, seed: int) -> list[int]:
    """Return a quarter of the marked images of each class, at least two, at most half."""
    generator = torch.Generator().manual_seed(seed)
    classes: dict[int, list[int]] = {}
    for image in marks.images:
        classes.setdefault(marks.of(image)[0][0], []).append(image)
    chosen: list[int] = []
    for images in classes.values():
        count = min(max(round(len(images) / 4), 2), len(images) // 2)
        chosen += [images[place] for place in torch.randperm(len(images), generator=generator)[:count].tolist()]
    return sorted(chosen)


def _gathered(parts: Iterable[tuple[Split, Sequence[int]]]) -> Split:
    """Gather marked images of several splits of one folder into a split of their own."""
    parts = list(parts)
    targets = torch.cat([split.targets[list(places)] for split, places in parts])
    groups = [split.groups[list(places)] for split, places in parts if split.groups is not None]
    paths = [split.name(place) for split, places in parts for place in places]
    owned = [split.marks.of(place) for split, places in parts if split.marks for place in places]
    rows = [(new, label, mask) for new, marks in enumerate(owned) for label, mask in marks]
    marks = Marks([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    folder = parts[0][0].folder
    assert folder is not None
    return FileSplit(
        targets=targets,
        marks=marks,
        groups=torch.cat(groups) if len(groups) == len(parts) else None,
        root=folder,
        paths=paths,
    )


def _held_out_note(chosen: int, marked: int, others: int) -> str:
    more = f" {others} marked images of other splits joined them." if others else ""
    return (
        f"No test or validation split has enough masks, so {chosen} of the {marked} marked training images were held "
        f"out of training for the proof.{more} Both classifiers were trained on these images' labels; no training "
        f"used their marks."
    )


def _write(train: Split, marks: Marks, classes: tuple[str, ...], out: Path) -> Path:
    """Write OUT/marks.json, or raise if it exists with other content."""
    path = out / "marks.json"
    found = [
        Mark(train.name(image), classes[label], mask.bool().numpy())
        for image in marks.images
        for label, mask in marks.of(image)
    ]
    assert train.folder is not None
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        fresh = Path(folder) / path.name
        write_coco(fresh, found, ImageSizes(train.folder, train.names), classes)
        content = fresh.read_bytes()
    if path.is_file() and path.read_bytes() != content:
        raise ValueError(f"{out} holds a cure with other marks; choose another --out, or remove it")
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
