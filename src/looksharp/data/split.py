"""What a data set is here: named splits of images with targets and, for some images, masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors

from looksharp.batch import Batch
from looksharp.marks.regions import MadeMasks

__all__ = ["Augment", "BatchLoader", "Data", "Pairs", "Pixels", "Split", "boxes_of"]

Augment = Literal["none", "crop", "crop_flip", "resize_crop_flip", "resized_crop_flip"]
"""What training images go through: nothing; pad by an eighth and crop; the same and mirror; resize the shorter side to
8/7 of the size (256 for 224), crop and mirror; crop at random scale, resize and mirror."""


@dataclass(frozen=True)
class Pixels:
    """How pixels become a network's input: size (height, width), then (pixel / 255 - mean) / std per channel.

    `crop_share` is for image files that are not augmented: they are resized to cover `size` / `crop_share`, and the
    middle of `size` is cut out: with 0.875, 224 of 256.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    crop_share: float = 1.0

    def normalize(self, images: Tensor) -> Tensor:
        """Images (..., 3, H, W) of bytes as the network reads them."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std))
        return (images.float() / 255 - mean) / std

    def denormalize(self, images: Tensor) -> Tensor:
        """The inverse, as colours in [0, 1]."""
        mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (self.mean, self.std))
        return (images * std + mean).clamp(0, 1)


class Pairs:
    """Masks for some (image, class) pairs of a split, found by image.

    Args:
        samples: the images' places in the split, M of them; an image may come more than once.
        labels: M class indices.
        masks: M masks (H, W), boolean, each of its image's own size; `MadeMasks` are not kept.
    """

    def __init__(self, samples: Sequence[int], labels: Sequence[int], masks: Sequence[Tensor] | Tensor) -> None:
        if not len(samples) == len(labels) == len(masks):
            raise ValueError(
                f"samples, labels and masks must be of one length; got {len(samples)}, {len(labels)}, {len(masks)}"
            )
        self.samples, self.labels, self.masks = list(samples), list(labels), masks
        self._rows: dict[int, list[int]] = {}
        for row, sample in enumerate(self.samples):
            self._rows.setdefault(sample, []).append(row)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def images(self) -> list[int]:
        """Places of the images that have a mask, in order, each once."""
        return sorted(self._rows)

    def of(self, sample: int) -> list[tuple[int, Tensor]]:
        """(class, mask) for every pair of an image."""
        return [(self.labels[row], self.masks[row]) for row in self._rows.get(sample, ())]

    def restricted(self, samples: Iterable[int]) -> Pairs:
        """The pairs of some images alone."""
        return self.taken([row for sample in samples for row in self._rows.get(sample, ())])

    def taken(self, rows: Sequence[int]) -> Pairs:
        """Some of the pairs, by their places here."""
        masks = self.masks.taken(rows) if isinstance(self.masks, MadeMasks) else [self.masks[r] for r in rows]
        return Pairs([self.samples[r] for r in rows], [self.labels[r] for r in rows], masks)

    def as_boxes(self) -> Pairs:
        """Every mask replaced by the box around it: what a person who draws boxes would give."""
        masks = self.masks.boxed() if isinstance(self.masks, MadeMasks) else boxes_of(self.masks)
        return Pairs(self.samples, self.labels, masks)


def boxes_of(masks: Sequence[Tensor] | Tensor) -> list[Tensor]:
    """For each mask (H, W), the filled box around it; an empty mask stays empty."""
    boxes = []
    for mask in masks:
        box = torch.zeros_like(mask)
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        if len(rows):
            box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 1
        boxes.append(box)
    return boxes


class BatchLoader(Protocol):
    """Anything that yields batches and knows how many."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


@dataclass
class Split(ABC):
    """Images of one split.

    Attributes:
        targets: (N,) class indices, or (N, classes) multi-hot.
        pairs: masks of objects, for some images or all.
        groups: (N,) group indices, where groups are known.
    """

    targets: Tensor
    pairs: Pairs | None = None
    groups: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @abstractmethod
    def image(self, index: int) -> tv_tensors.Image:
        """One image (3, H, W) of bytes, at its own size."""

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
        """Batches of the images that `batches` lists, normalised; with their pairs as guidance."""


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        name: what it was made from.
        classes: class names.
        splits: "train", "val" and any number of test splits, in the order in which tables show them.
        pixels: how its pixels become input.
        augment: what its training images go through unless one says otherwise.
        group_names: names of the groups, where groups are known.
        notes: counted remarks on what was left out in reading.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    pixels: Pixels
    augment: Augment = "crop_flip"
    group_names: tuple[str, ...] = ()
    notes: dict[str, int] = field(default_factory=dict)

    @property
    def multilabel(self) -> bool:
        """Whether an image may have several classes."""
        return next(iter(self.splits.values())).targets.ndim == 2

    @property
    def tests(self) -> dict[str, Split]:
        """The splits to report on: all but train and val, or val where there is no other."""
        tests = {name: split for name, split in self.splits.items() if name not in ("train", "val")}
        return tests or {"val": self.splits["val"]}
