"""Splits that live in memory as one tensor, on the device that trains: nothing waits for a loader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import ClassVar, cast

import torch
from torch import Tensor
from torchvision import tv_tensors

from looksharp.batch import Batch, BatchMarks
from looksharp.data.split import Augment, BatchLoader, Pixels, Split
from looksharp.marks.marks import Marks

__all__ = ["TensorSplit", "random_crop"]


@dataclass(kw_only=True)
class TensorSplit(Split):
    """A split whose images are one tensor (N, 3, H, W) of bytes; masks are of the images' size."""

    in_memory: ClassVar[bool] = True

    images: Tensor = field(repr=False)

    def image(self, index: int) -> tv_tensors.Image:
        """Return one image (3, H, W) of bytes."""
        return tv_tensors.Image(self.images[index])

    def content(self) -> Iterator[bytes]:
        """Yield every pixel."""
        yield f"{tuple(self.images.shape)} {self.images.dtype}".encode()
        yield self.images.detach().cpu().contiguous().numpy().tobytes()

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
        """Return batches made on the device; `workers` is ignored.

        Raises:
            ValueError: for "resized_crop_flip", which belongs to image files, or if the images are of another
                size than `pixels` says.
        """
        if augment in ("resize_crop_flip", "resized_crop_flip"):
            raise ValueError("augment must be none, flip, crop or crop_flip for images held in memory")
        if tuple(self.images.shape[-2:]) != pixels.size:
            raise ValueError(f"images are {tuple(self.images.shape[-2:])} pixels and must be {pixels.size}")
        return _TensorLoader(self, batches, pixels, augment, seed, torch.device(device))


class _TensorLoader:
    def __init__(
        self,
        split: TensorSplit,
        batches: Iterable[list[int]],
        pixels: Pixels,
        augment: Augment,
        seed: int,
        device: torch.device,
    ) -> None:
        self.split, self.batches, self.pixels, self.augment = split, batches, pixels, augment
        self.device, self.seed = device, seed
        self.images, self.targets = split.images.to(device), split.targets.to(device)

    def __len__(self) -> int:
        return len(cast(Sized, self.batches))

    def __iter__(self) -> Iterator[Batch]:
        epoch = getattr(self.batches, "epoch", 0)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch + 500_009)
        for chosen in self.batches:
            where = torch.tensor(chosen, device=self.device)
            images = self.images[where]
            owned = [self._marks(kind, chosen) for kind in (self.split.marks, self.split.pointed)]
            if self.augment != "none":
                flip, share = self.augment in ("flip", "crop_flip"), 0 if self.augment == "flip" else 8
                rows, columns = random_crop(len(images), images.shape[-2:], flip, generator, share)
                images = _take(images, rows.to(self.device), columns.to(self.device))
                owned = [marks and _cropped(marks, rows, columns) for marks in owned]
            groups = None if self.split.groups is None else self.split.groups[chosen].to(self.device)
            marks, cues = owned
            yield Batch(self.pixels.normalize(images), self.targets[where], marks, groups, cues=cues)

    def _marks(self, marks: Marks | None, chosen: list[int]) -> BatchMarks | None:
        if marks is None:
            return None
        found = [(place, label, mask) for place, image in enumerate(chosen) for label, mask in marks.of(image)]
        if not found:
            return None
        places, labels, masks = zip(*found, strict=True)
        return BatchMarks(
            torch.tensor(places, device=self.device),
            torch.tensor(labels, device=self.device),
            torch.stack(masks).to(self.device, torch.float32),
        )


def _cropped(marks: BatchMarks, rows: Tensor, columns: Tensor) -> BatchMarks:
    """Return marks at the rows (B, H) and columns (B, W) of their images' crops."""
    at, device = marks.sample.cpu(), marks.mask.device
    mask = _take(marks.mask.unsqueeze(1), rows[at].to(device), columns[at].to(device))
    return BatchMarks(marks.sample, marks.label, mask.squeeze(1))


def random_crop(
    count: int, size: Iterable[int], flip: bool, generator: torch.Generator, share: int = 8
) -> tuple[Tensor, Tensor]:
    """Draw rows (count, H) and columns (count, W) of crops of images padded by an eighth, or 1/share, of their size.

    Indices outside the image stand for padding. For 32 px images this is the CIFAR recipe: pad by 4, crop 32
    (ICASC appendix A.1). With `flip`, half of the columns run backwards. With a share of 0 nothing is cropped.
    """
    height, width = size
    indices = []
    for length in (height, width):
        pad = max(length // share, 1) if share else 0
        offset = torch.randint(-pad, pad + 1, (count, 1), generator=generator)
        indices.append(torch.arange(length) + offset)
    rows, columns = indices
    if flip:
        backwards = torch.rand(count, 1, generator=generator) < 0.5
        columns = torch.where(backwards, columns.flip(1), columns)
    return rows, columns


def _take(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return pixels (B, C, h, w) at each image's rows (B, h) and columns (B, w); 0 outside the image."""
    height, width = images.shape[-2:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    which = torch.arange(len(images), device=images.device)[:, None, None]
    taken = images.permute(0, 2, 3, 1)[
        which, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]
    ]  # (B, h, w, C)
    return (taken * inside.unsqueeze(-1)).permute(0, 3, 1, 2).contiguous()
