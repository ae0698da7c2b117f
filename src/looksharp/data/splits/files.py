"""Splits whose images are files, read and augmented by worker processes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Self, TypeVar, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2
from tqdm import tqdm

from looksharp.batch import Batch, BatchMarks
from looksharp.data.split import Augment, BatchLoader, Data, Pixels, Split
from looksharp.data.splits.memory import TensorSplit
from looksharp.data.transform import image_transform
from looksharp.images.depth import ValueRange
from looksharp.images.headers import read_size
from looksharp.images.look import Look, look_at
from looksharp.images.reading import read_image
from looksharp.marks.marks import Marks

__all__ = [
    "SMALL",
    "DecodedSplit",
    "FileSplit",
    "Item",
    "image_batches",
    "keep_in_memory",
]

SMALL = 96
"""The largest side, in pixels, of images that are kept in memory and cropped there."""
_MEMORY = 1 << 30  # and bytes that they may take together

Key = TypeVar("Key")
Item = tuple[Tensor, Tensor, list[tuple[int, Tensor, bool]], Tensor | None]
"""An image, its target, (class, mask, whether it is of a cue) of each of its marks, and its group."""


@dataclass(kw_only=True)
class DecodedSplit(Split):
    """A split whose images are decoded one by one, by worker processes; masks are of the images' own sizes.

    Attributes:
        value_range: the values that become black and white in images of more than 8 bits a channel; 16-bit images
            keep their own range if it is None.
    """

    value_range: ValueRange | None = None

    @abstractmethod
    def encoded(self, index: int) -> tuple[Path | str, IO[bytes] | None]:
        """Return the file of an image, or a name for messages and its content."""

    def image(self, index: int) -> tv_tensors.Image:
        """Return one image (3, H, W) of bytes, at its own size."""
        return read_image(*self.encoded(index), self.value_range)

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of an image, from its header."""
        return read_size(*self.encoded(index))

    def ranged(self, value_range: ValueRange) -> Self:
        """Return the split with the values that become black and white."""
        return replace(self, value_range=value_range)

    def look(self, index: int) -> Look:
        """Look at one image."""
        return look_at(*self.encoded(index), self.value_range)

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
        """Return batches read by `workers` processes; the same whatever their number."""
        images = _Images(self, image_transform(pixels, augment))
        return image_batches(images, _Seeded(batches, seed), pixels, device, workers)


@dataclass(kw_only=True)
class FileSplit(DecodedSplit):
    """A split whose images are files below `root`."""

    root: Path
    paths: Sequence[str] = field(repr=False)

    @property
    def folder(self) -> Path:
        """Return the folder that paths are relative to."""
        return self.root

    def name(self, index: int) -> str:
        """Return an image's path."""
        return self.paths[index]

    def encoded(self, index: int) -> tuple[Path, None]:
        """Return the image's file."""
        return self.root / self.paths[index], None

    def content(self) -> Iterator[bytes]:
        """Yield every file's path, size and time of change."""
        for path in self.paths:
            yield path.encode(errors="surrogateescape")
            with suppress(OSError):  # a missing file is reported when it is read
                found = (self.root / path).stat()
                yield f"{found.st_size} {found.st_mtime_ns}".encode()


class _Seeded:
    """Batches of (image, seed of its augmentation)."""

    def __init__(self, batches: Iterable[list[int]], seed: int) -> None:
        self.batches, self.seed = batches, seed

    def __len__(self) -> int:
        return len(cast(Sized, self.batches))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        drawn = torch.Generator().manual_seed(self.seed * 1_000_003 + getattr(self.batches, "epoch", 0))
        for batch in self.batches:
            seeds = torch.randint(2**62, (len(batch),), generator=drawn).tolist()
            yield list(zip(batch, seeds, strict=True))


class _Images(Dataset[Item]):
    def __init__(self, split: DecodedSplit, transform: v2.Transform) -> None:
        self.split, self.transform = split, transform

    def __getitem__(self, key: tuple[int, int]) -> Item:
        index, seed = key
        image = self.split.image(index)
        marks = [
            (label, mask, kind is self.split.pointed)
            for kind in (self.split.marks, self.split.pointed)
            if kind is not None
            for label, mask in kind.of(index)
        ]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # not `torch.manual_seed`, which seeds the devices too
            if marks:
                masks = tv_tensors.Mask(torch.stack([mask for _, mask, _ in marks]).to(torch.uint8))
                image, masks = self.transform(image, masks)
                marks = [(label, mask, cue) for (label, _, cue), mask in zip(marks, masks, strict=True)]
            else:
                image = self.transform(image)
        groups = self.split.groups
        return (
            image.as_subclass(Tensor),
            self.split.targets[index],
            marks,
            None if groups is None else groups[index],
        )


def image_batches(
    images: Dataset[Item],
    batches: Iterable[list[Key]],
    pixels: Pixels,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> BatchLoader:
    """Return batches of what `images` makes of each key: an image of `pixels.size`, its target, marks and group."""
    return _ImageLoader(images, batches, pixels, torch.device(device), workers)


class _ImageLoader:
    def __init__(
        self,
        images: Dataset[Item],
        batches: Iterable[list[Key]],
        pixels: Pixels,
        device: torch.device,
        workers: int,
    ) -> None:
        self.pixels, self.device = pixels, device
        self.loader: DataLoader[Item] = DataLoader(
            images,
            batch_sampler=batches,
            collate_fn=_collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # else each epoch draws from the global one
        )

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        for read in cast(Iterable[Batch], self.loader):
            batch = read.to(self.device)
            yield replace(batch, image=self.pixels.normalize(batch.image))


def _collate(items: list[Item]) -> Batch:
    images, targets, owned, groups = zip(*items, strict=True)
    group = None if groups[0] is None else torch.stack(groups)
    marks, cues = (_collated(owned, cue) for cue in (False, True))
    return Batch(torch.stack(images), torch.stack(targets), marks, group, cues=cues)


def _collated(owned: Sequence[list[tuple[int, Tensor, bool]]], cue: bool) -> BatchMarks | None:
    found = [(place, label, mask) for place, marked in enumerate(owned) for label, mask, of in marked if of == cue]
    if not found:
        return None
    places, labels, masks = zip(*found, strict=True)
    return BatchMarks(torch.tensor(places), torch.tensor(labels), torch.stack(masks).float())


def keep_in_memory(data: Data) -> Data:
    """Read splits of small image files into memory; leave others as they are.

    Small are images of up to 96 px a side that together take up to 1 GiB, and that are not cropped from larger ones.
    Where the training images are among them, the data's own augmentation becomes one that such images can have.
    """
    area = data.pixels.size[0] * data.pixels.size[1]
    splits: dict[str, Split] = {}
    for name, split in data.splits.items():
        small = max(data.pixels.size) <= SMALL and not data.pixels.is_cut and 3 * area * len(split) <= _MEMORY
        splits[name] = _in_memory(split, data.pixels, name) if small and split.folder is not None else split
    cut_from_files = data.augment in ("resize_crop_flip", "resized_crop_flip")
    augment: Augment = (
        "crop_flip" if cut_from_files and "train" in splits and splits["train"].in_memory else data.augment
    )
    return replace(data, splits=splits, augment=augment)


def _in_memory(split: Split, pixels: Pixels, name: str) -> TensorSplit:
    """Return all of a split's images read once, at the size of `pixels`, as one tensor; masks with them."""
    transform = image_transform(pixels)
    images = torch.empty(len(split), 3, *pixels.size, dtype=torch.uint8)
    kinds = (split.marks, split.cues, split.pointed)
    samples: list[list[int]] = [[] for _ in kinds]
    labels: list[list[int]] = [[] for _ in kinds]
    masks: list[list[Tensor]] = [[] for _ in kinds]
    for index in tqdm(range(len(split)), f"reading {name} images", disable=len(split) < 2000, leave=False):
        found = [[] if kind is None else kind.of(index) for kind in kinds]
        owned = [mark for kind in found for mark in kind]
        stack = torch.stack([mask for _, mask in owned]) if owned else torch.zeros(0, *pixels.size)
        image = split.image(index)
        if owned:
            image, stack = transform(image, tv_tensors.Mask(stack.to(torch.uint8)))
        else:
            image = transform(image)
        images[index] = image
        parts = stack.bool().as_subclass(Tensor).split([len(kind) for kind in found])
        for place, kind in enumerate(found):
            samples[place] += [index] * len(kind)
            labels[place] += [label for label, _ in kind]
            masks[place] += list(parts[place])
    marks, cues, pointed = (
        None if kind is None else Marks(samples[place], labels[place], masks[place]) for place, kind in enumerate(kinds)
    )
    return TensorSplit(
        targets=split.targets,
        marks=marks,
        groups=split.groups,
        images=images,
        cues=cues,
        pointed=pointed,
    )
