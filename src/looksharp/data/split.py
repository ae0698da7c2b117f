"""What a data set is here: named splits of images with targets and, for some images, masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor
from torchvision import tv_tensors

from looksharp.batch import Batch
from looksharp.marks.marks import Marks

__all__ = ["Augment", "BatchLoader", "Data", "Pixels", "Split"]

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


class BatchLoader(Protocol):
    """Anything that yields batches and knows how many."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __len__(self) -> int: ...


@dataclass
class Split(ABC):
    """Images of one split.

    Attributes:
        targets: (N,) class indices, or (N, classes) multi-hot.
        marks: masks of objects, for some images or all.
        groups: (N,) group indices, where groups are known.
    """

    targets: Tensor
    marks: Marks | None = None
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
        """Batches of the images that `batches` lists, normalised, with their marks."""


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
