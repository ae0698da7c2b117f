"""A data set: named splits of images with targets and, for some images, marks."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor
from torchvision import tv_tensors

from looksharp.attention.layout import pair
from looksharp.batch import Batch
from looksharp.data.dividing import divide, held_out
from looksharp.data.pixels import Pixels
from looksharp.images.depth import ValueRange
from looksharp.images.look import Look
from looksharp.marks.marks import Marks

__all__ = ["Augment", "BatchLoader", "Data", "Pixels", "Split"]

Augment = Literal["none", "flip", "crop", "crop_flip", "resize_crop_flip", "resized_crop_flip"]
"""Augmentation of training images: none; mirror; pad by an eighth and crop; the same and mirror; resize the shorter
side to 8/7 of the size (256 for 224), crop and mirror; crop at random scale, resize and mirror."""


class BatchLoader(Protocol):
    """Anything that yields batches and knows their number."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


@dataclass
class Split(ABC):
    """Images of one split.

    A subclass keeps images in memory, in files, in a table or in shards. It defines `image` and `loader`, and
    overrides `name`, `size`, `folder` and `content` where it knows better.

    Attributes:
        targets: (N,) class indices, or (N, classes) multi-hot.
        marks: masks of objects, for some images or all.
        groups: (N,) group indices, where groups are known.
        owners: owner of each image, such as a person, whose images must not be in two splits.
        cues: masks of a planted cue, where known: the truth by which mechanisms are judged; training never reads it.
        pointed: masks of what a person called a shortcut, which parts such as cue_exchange read.
        in_memory: True if all images are decoded already, as one tensor.
    """

    in_memory: ClassVar[bool] = False

    targets: Tensor
    marks: Marks | None = None
    groups: Tensor | None = None
    owners: Sequence[str] | None = field(default=None, repr=False)
    cues: Marks | None = field(default=None, repr=False)
    pointed: Marks | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def image(self, index: int) -> tv_tensors.Image:
        """Return one image (3, H, W) of bytes, at its own size."""

    @abstractmethod
    def loader(
        self,
        batches: Iterable[list[int]],
        pixels: Pixels,
        *,
        augment: Augment = "none",
        seed: int = 0,
        device: torch.device | str = "cpu",
        workers: int = 0,
    ) -> BatchLoader:
        """Return batches of the images that `batches` lists, normalised, with their marks."""

    def look(self, index: int) -> Look | None:
        """Look at an image's file; None where images are decoded already, or come as a stream."""
        return None

    def ranged(self, value_range: ValueRange) -> Split:
        """Return the split with the values of deep images that become black and white; itself if they are decoded."""
        return self

    @property
    def folder(self) -> Path | None:
        """Return the folder that holds each image as a file called by its `name`; None where images are not files."""
        return None

    def name(self, index: int) -> str:
        """Return what an image is called: its path in `folder`, or its place."""
        return str(index)

    @property
    def names(self) -> list[str]:
        """Return the name of every image, in order."""
        return [self.name(index) for index in range(len(self))]

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of an image."""
        height, width = self.image(index).shape[-2:]
        return height, width

    def taken(self, places: Sequence[int]) -> Self:
        """Return a split of these images alone, in this order, with their marks and groups.

        Every field with a value per image (a tensor, list, tuple or range) is taken likewise.

        Args:
            places: places of images, each at most once.

        Raises:
            ValueError: if images cannot be picked, as in a stream.

        Example:
            >>> from looksharp.data.sets.synthetic import digits
            >>> digits(train=8, val=1, test=1).splits["train"].taken([5, 2]).targets.shape
            torch.Size([2])

        """
        chosen = list(places)
        changed: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if (
                each.name not in _OF_MARKS
                and isinstance(value, Tensor | list | tuple | range)
                and len(value) == len(self)
            ):
                changed[each.name] = value[chosen] if isinstance(value, Tensor) else [value[place] for place in chosen]
        if changed.keys() <= {"targets", "groups", "owners"}:
            raise ValueError(f"images of a {type(self).__name__} cannot be picked; give images in memory or in files")
        now = {place: number for number, place in enumerate(chosen)}
        for name in _OF_MARKS:
            marks: Marks | None = getattr(self, name)
            if marks is not None:
                kept = marks.restricted(chosen)
                changed[name] = Marks([now[sample] for sample in kept.samples], kept.labels, kept.masks)
        return replace(self, **changed)

    def relabelled(self, table: Tensor, count: int) -> Self:
        """Return the split with its classes, and those of its marks, renumbered.

        Images all of whose classes are left out are left out too.

        Args:
            table: (classes,) each class's new number; -1 leaves it out. Several may become one.
            count: number of classes afterwards.

        Raises:
            ValueError: if images are left out of a split whose images cannot be picked.

        Example:
            >>> from looksharp.data.sets.synthetic import digits
            >>> split = digits(train=20, val=10, test=10).splits["test"]
            >>> sorted(split.relabelled(torch.tensor([7, 3] + 8 * [-1]), 9).targets.tolist())
            [3, 3]

        """
        targets, kept = _relabelled(self.targets, table, count)
        marks = None if self.marks is None else self.marks.relabelled(table.tolist())
        found = replace(self, targets=targets, marks=marks)
        return found if kept.all() else found.taken(kept.nonzero().flatten().tolist())

    def divided(self, share: float, seed: int) -> tuple[Split, Split]:
        """Hold out a share of the images, class by class or by whole owners; return the rest and the held-out split.

        Multi-label images are drawn without regard to their classes.

        Args:
            share: share of the images to hold out, above 0 and below 1.
            seed: draws the held-out images.

        Raises:
            ValueError: if one side would be empty, or a class or owner has too few images.
        """
        if self.owners is not None:
            parts = list(held_out(self.owners, share, seed))
        else:
            strata = self.targets.tolist() if self.targets.ndim == 1 else [0] * len(self)
            parts = divide(strata, (1 - share, share), seed)
        kept, held = (self.taken(part) for part in parts)
        return kept, held

    def fingerprint(self, sampled: int | None = None) -> str:
        """Return a text that is equal for splits of the same images in the same order.

        Args:
            sampled: number of images whose pixels to compare, with all targets, so that copies elsewhere are the same.
                By default masks, groups and every image count; image files are then the same while their names,
                sizes and times of change are.
        """
        digest = hashlib.sha256()
        for part in self._facts() if sampled is None else (*_bytes([self.targets]), *self._pixels(sampled)):
            digest.update(part)
        return digest.hexdigest()

    def _facts(self) -> Iterator[bytes]:
        yield from _bytes([self.targets])
        if self.groups is not None:
            yield from (b"groups", *_bytes([self.groups]))
        for marks in filter(None, (getattr(self, name) for name in _OF_MARKS)):
            yield repr((marks.samples, marks.labels)).encode()
            yield from _bytes(marks.masks)
        yield from self.content()

    def content(self) -> Iterator[bytes]:
        """Yield what tells the images from others: here the pixels of some."""
        yield from self._pixels(_SAMPLED)

    def _pixels(self, sampled: int) -> Iterator[bytes]:
        yield from _bytes(self.image(place).as_subclass(Tensor) for place in _spread(len(self), sampled))


_OF_MARKS = ("marks", "cues", "pointed")  # fields of a split
_SAMPLED = 64  # images of a split that is neither in memory nor in files


def _relabelled(targets: Tensor, table: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return targets with classes renumbered, and which of the images keep a class."""
    if targets.ndim == 1:
        found = table.to(targets.dtype)[targets]
        return found, found >= 0
    columns = torch.zeros(len(targets), count, dtype=targets.dtype)
    for new in table[table >= 0].unique().tolist():
        columns[:, new] = targets[:, (table == new).nonzero().flatten()].amax(1)  # of unknown and no, no
    return columns, (columns > 0.5).any(1) | ~(targets > 0.5).any(1)


def _bytes(tensors: Iterable[Tensor]) -> Iterator[bytes]:
    for tensor in tensors:
        yield f"{tuple(tensor.shape)} {tensor.dtype}".encode()
        yield tensor.detach().cpu().contiguous().numpy().tobytes()


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        name: name of its source.
        classes: class names.
        splits: "train", "val" and any number of test splits, in the order in which tables show them. As a reader gives
            them, "val" may be missing, or there may be one split "all"; see `looksharp.data.hold_out`.
        pixels: the way from its pixels to a network's input.
        augment: default augmentation of its training images.
        group_names: names of the groups, where groups are known.
        notes: remarks on images and marks left out in reading -> their number.
        sources: where classes were mapped, class as it was read -> class; None where its images were left out.
        tested: names of the splits to report on, if not all but train and val; see `testing`.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    pixels: Pixels
    augment: Augment = "crop_flip"
    group_names: tuple[str, ...] = ()
    notes: dict[str, int] = field(default_factory=dict)
    sources: dict[str, str | None] = field(default_factory=dict)
    tested: tuple[str, ...] = ()

    def resized(self, size: int | tuple[int, int]) -> Data:
        """Return the data set with its images brought to another size: the side, or (height, width)."""
        return replace(self, pixels=replace(self.pixels, size=pair(size), resize_size=None))

    def ranged(self, value_range: ValueRange) -> Data:
        """Return the data set with the values of deep images that become black and white."""
        ranged = {
            id(split): split.ranged(value_range) for split in self.splits.values()
        }  # one split may have two names
        splits = {name: ranged[id(split)] for name, split in self.splits.items()}
        return replace(self, splits=splits, pixels=replace(self.pixels, value_range=value_range))

    @property
    def multilabel(self) -> bool:
        """Return True if an image may have several classes."""
        return next(iter(self.splits.values())).targets.ndim == 2

    @property
    def tests(self) -> dict[str, Split]:
        """Return the splits to report on: `tested`, else all but train and val, else val alone."""
        if self.tested:
            return {name: self.splits[name] for name in self.tested}
        tests = {name: split for name, split in self.splits.items() if name not in ("train", "val")}
        return tests or {"val": self.splits["val"]}

    def testing(self, split: str | None = None, images: int | None = None) -> Data:
        """Return the data set to be reported on by one split, or by some images alone.

        Args:
            split: the split; those of `tests` if not given.
            images: number of images of each, evenly spread over the split, so that every run is measured on the same
                ones; all if not given, or if there are fewer.

        Raises:
            ValueError: if there is no such split, or its images cannot be picked, as in a stream.

        Example:
            >>> from looksharp.data.sets.synthetic import digits
            >>> few = digits(train=20, val=10, test=10).testing("train", images=5)
            >>> {name: len(each) for name, each in few.tests.items()}
            {'train': 5}

        """
        if split is not None and split not in self.splits:
            raise ValueError(f"split must be one of {', '.join(self.splits)}; got {split!r}")
        tested = self.tests if split is None else {split: self.splits[split]}
        if images is not None:
            tested = {name: each.taken(_spread(len(each), images)) for name, each in tested.items()}
        return replace(self, splits=self.splits | tested, tested=tuple(tested))


def _spread(count: int, chosen: int) -> list[int]:
    """Return so many places of `count`, evenly spread."""
    return torch.linspace(0, count - 1, min(chosen, count)).long().tolist()
