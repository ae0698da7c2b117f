"""Regions of training images that a person called a shortcut or the object, by group: their file, and their marks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from looksharp.data.split import Data, Pixels, Split
from looksharp.data.transform import seen_box
from looksharp.marks.documents import read_json
from looksharp.marks.marks import Marks
from looksharp.marks.regions import MadeMasks
from looksharp.marks.runs import runs_mask
from looksharp.marks.union import Mask

__all__ = ["SeenRegion", "TickedRegion", "TicksChoice", "choose_ticked", "region_marks", "ticks_text"]

Runs = Sequence[int]
"""Lengths of runs of zeros and ones in turn, down the columns."""

_COMPARED = 64  # images whose pixels tell the images of one file from others
_MEND = "make the cure again"


class TicksChoice(Protocol):
    """The settings that are read here; see `MarksConfig`."""

    @property
    def cues(self) -> str | None:
        """Return a file of regions by group."""

    @property
    def shortcut(self) -> Sequence[int] | None:
        """Return the groups that are a shortcut."""

    @property
    def object(self) -> Sequence[int] | None:
        """Return the groups that are the object."""


@dataclass(frozen=True, eq=False)
class SeenRegion:
    """A region of a network's input, as a mask of the image that the input was cut from.

    Attributes:
        runs: the region, see `Runs`.
        grid: (height, width) of the input.
        size: (height, width) of the image.
        box: top, left, height and width of what the network sees of the image, in its pixels.
    """

    runs: Runs
    grid: tuple[int, int]
    size: tuple[int, int]
    box: tuple[float, float, float, float]

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        places, inside = _seen_at(self.grid, self.size, self.box)
        mask: Mask = runs_mask(self.runs, self.grid)[places] & inside
        return mask


@lru_cache(64)
def _seen_at(
    grid: tuple[int, int], size: tuple[int, int], box: tuple[float, float, float, float]
) -> tuple[tuple[npt.NDArray[np.intp], ...], Mask]:
    """Return the cell (rows, columns) of the input that shows each pixel of an image, and which are shown at all."""
    places, inside = [], []
    for start, length, cells, whole in zip(box[:2], box[2:], grid, size, strict=True):
        at = np.floor((np.arange(whole) + 0.5 - start) / length * cells).astype(int)
        inside.append((at >= 0) & (at < cells))
        places.append(at.clip(0, cells - 1))
    return np.ix_(*places), inside[0][:, None] & inside[1][None, :]


@dataclass(frozen=True)
class TickedRegion:
    """A region of a training image.

    Attributes:
        image: its place in the split.
        label: the class.
        runs: the region, at the size of the network's input; see `Runs`.
    """

    image: int
    label: int
    runs: Runs


Groups = Mapping[int, Sequence[TickedRegion]]
"""Number of a group -> its regions."""


def ticks_text(split: Split, size: tuple[int, int], groups: Groups) -> str:
    """Return the regions of some groups as the text of a file that `choose_ticked` reads.

    Args:
        split: the training images.
        size: (height, width) of the network's input, which the regions are of.
        groups: their regions by group.
    """
    content = {
        "images": split.fingerprint(_COMPARED),
        "size": list(size),
        "groups": {
            str(number): [[each.image, each.label, list(each.runs)] for each in regions]
            for number, regions in groups.items()
        },
    }
    return json.dumps(content, separators=(",", ":")) + "\n"


def choose_ticked(data: Data, choice: TicksChoice) -> Data:
    """Return the data set with the regions of ticked groups as marks of its training images.

    Those of a shortcut become cue marks (`Split.pointed`); those of the object join the marks of objects, where an
    image has none of its own.

    Raises:
        ValueError: if the file is damaged, is of other images, or lacks a group.
    """
    train = data.splits["train"]
    if choice.cues is None:
        return data if train.pointed is None else _with(data, replace(train, pointed=None))
    path = Path(choice.cues)
    grid, groups = _read(path, train)
    chosen = choice.shortcut if choice.shortcut is not None or choice.object else sorted(groups)
    cues, objects = (
        region_marks(
            train, data.pixels, grid, [each for number in numbers or () for each in _group(path, groups, number)]
        )
        for numbers in (chosen, choice.object)
    )
    own = train.marks
    if len(objects):
        own = objects if own is None else _joined(own, objects)
    return _with(data, replace(train, pointed=cues if len(cues) else None, marks=own))


def region_marks(split: Split, pixels: Pixels, grid: tuple[int, int], regions: Sequence[TickedRegion]) -> Marks:
    """Return regions of a network's input as marks of a split's images.

    Args:
        split: the images.
        pixels: the way from their pixels to the network's input.
        grid: (height, width) of the input.
        regions: the regions.
    """
    made = []
    for each in regions:
        size = grid if split.in_memory else split.size(each.image)
        box = (0.0, 0.0, float(size[0]), float(size[1])) if split.in_memory else seen_box(pixels, size)
        made.append(SeenRegion(each.runs, grid, size, box))
    return Marks([each.image for each in regions], [each.label for each in regions], MadeMasks(made))


def _joined(own: Marks, found: Marks) -> Marks:
    """Return marks, and those of images that had none."""
    known = set(own.images)
    rows = [(image, *mark) for image in own.images for mark in own.of(image)]
    rows += [(image, *mark) for image in found.images if image not in known for mark in found.of(image)]
    return Marks([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])


def _with(data: Data, train: Split) -> Data:
    return replace(data, splits=data.splits | {"train": train})


def _group(path: Path, groups: Groups, number: int) -> Sequence[TickedRegion]:
    if number not in groups:
        raise ValueError(f"{path} has no group {number}; it has {', '.join(map(str, sorted(groups)))}")
    return groups[number]


def _read(path: Path, train: Split) -> tuple[tuple[int, int], Groups]:
    content: Any = read_json(path, "the regions of ticked groups", _MEND)
    try:
        height, width = map(int, content["size"])
        groups = {
            int(number): [TickedRegion(int(image), int(label), list(map(int, runs))) for image, label, runs in regions]
            for number, regions in content["groups"].items()
        }
        images = str(content["images"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ValueError(f"{path} does not hold the regions of ticked groups; {_MEND}") from None
    if images != train.fingerprint(_COMPARED):
        raise ValueError(f"{path} holds regions of other training images; {_MEND}")
    wrong = next(
        (each for regions in groups.values() for each in regions if not _fits(each, train, height, width)), None
    )
    if wrong is not None:
        raise ValueError(f"{path} is damaged: the region of image {wrong.image} does not fit; {_MEND}")
    return (height, width), groups


def _fits(region: TickedRegion, split: Split, height: int, width: int) -> bool:
    runs = region.runs
    return 0 <= region.image < len(split) and min(runs, default=0) >= 0 and sum(runs) == height * width
