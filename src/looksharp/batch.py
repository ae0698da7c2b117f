"""Batches: images, targets and, for some images, marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["Batch", "BatchMarks", "as_batch"]


@dataclass(frozen=True)
class BatchMarks:
    """Masks for G (image, class) pairs of a batch, in coordinate form.

    Attributes:
        sample: (G,) the image's place in the batch.
        label: (G,) the class.
        mask: (G, H, W) in [0, 1], 1 where the object is; boxes are masks too.

    """

    sample: Tensor
    label: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.sample)

    def to(self, device: torch.device | str) -> BatchMarks:
        """Return the marks on another device."""
        return BatchMarks(self.sample.to(device), self.label.to(device), self.mask.to(device))


@dataclass(frozen=True)
class Batch:
    """Images with their targets, and the marks of some images.

    Attributes:
        image: (B, C, H, W), normalised.
        target: (B,) class indices, or (B, classes) multi-hot: 1 present, 0 absent, -1 not known.
        marks: masks for some images; None if there are none.
        group: (B,) group indices, where groups are known (worst-group accuracy).
        copies: (M,) places of the originals, if the last M images are altered copies.
        cues: masks of what a person called a shortcut, for some images; None if there are none.
        recued: (M,) True for copies in which the cue was exchanged, False for those with other surroundings.
        external: number of last images, without copies, that were drawn for their marks: GAIN's external stream.

    """

    image: Tensor
    target: Tensor
    marks: BatchMarks | None = None
    group: Tensor | None = None
    copies: Tensor | None = None
    external: int = 0
    cues: BatchMarks | None = None
    recued: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def multilabel(self) -> bool:
        """Return True if targets are multi-hot."""
        return self.target.ndim == 2

    @property
    def labelled(self) -> Tensor:
        """Return places (N,) of all images but the external ones."""
        places = torch.arange(len(self), device=self.image.device)
        own = len(self) - (0 if self.copies is None else len(self.copies))
        return torch.cat([places[: own - self.external], places[own:]])

    def copies_of(self, recued: bool) -> tuple[Tensor, Tensor]:
        """Return the places of some copies' originals, and of these copies.

        Args:
            recued: those in which the cue was exchanged; otherwise those with other surroundings.
        """
        if self.copies is None:
            return (torch.empty(0, dtype=torch.long, device=self.image.device),) * 2
        chosen = torch.zeros_like(self.copies, dtype=torch.bool) if self.recued is None else self.recued
        chosen = chosen == recued
        places = torch.arange(len(self) - len(self.copies), len(self), device=self.copies.device)
        return self.copies[chosen], places[chosen]

    def extended(self, images: Tensor, targets: Tensor, originals: Tensor, *, recued: bool) -> Batch:
        """Return the batch with altered copies behind its images and earlier copies.

        Args:
            images: (M, C, H, W), the copies.
            targets: (M,) or (M, classes), their targets.
            originals: (M,) places of the images that they are copies of.
            recued: their cues were exchanged, not their surroundings.
        """
        before, after = self.copies, torch.full_like(originals, recued, dtype=torch.bool)
        if before is not None:
            known = torch.zeros_like(before, dtype=torch.bool) if self.recued is None else self.recued
            originals, after = torch.cat([before, originals]), torch.cat([known, after])
        group = self.group if self.group is None else torch.cat([self.group, self.group[originals[-len(images) :]]])
        return replace(
            self,
            image=torch.cat([self.image, images]),
            target=torch.cat([self.target, targets]),
            group=group,
            copies=originals,
            recued=after,
        )

    def multi_hot(self, classes: int) -> Tensor:
        """Return targets as booleans (B, classes)."""
        if self.multilabel:
            return self.target > 0.5
        return torch.nn.functional.one_hot(self.target, classes).bool()

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on another device."""
        # Marks move also where they are empty.
        marks, cues = (None if part is None else part.to(device) for part in (self.marks, self.cues))
        group, copies, recued = (
            None if part is None else part.to(device) for part in (self.group, self.copies, self.recued)
        )
        return Batch(self.image.to(device), self.target.to(device), marks, group, copies, self.external, cues, recued)


def as_batch(batch: Batch | Mapping[str, Tensor] | Sequence[Tensor]) -> Batch:
    """Convert to a `Batch` what data loaders yield: a Batch, `(images, targets)`, or a mapping.

    A mapping holds `image` and `target`, and for marks `sample`, `label` and `mask` (see `BatchMarks`) and `external`.

    Raises:
        ValueError: if shapes do not fit each other.
        TypeError: if `batch` is none of these.

    """
    if isinstance(batch, Mapping):
        marked = "mask" in batch
        marks = BatchMarks(batch["sample"], batch["label"], batch["mask"]) if marked else None
        batch = Batch(
            batch["image"], batch["target"], marks, batch.get("group"), external=int(batch.get("external", 0))
        )
    elif isinstance(batch, Sequence) and len(batch) == 2:
        batch = Batch(batch[0], batch[1])
    if not isinstance(batch, Batch):
        raise TypeError(
            f"batch must be a Batch, (images, targets) or a mapping with 'image' and 'target'; "
            f"got {type(batch).__name__}"
        )
    image, target, marks = batch.image, batch.target, batch.marks
    if image.ndim != 4 or len(image) != len(target):
        raise ValueError(
            f"batch must hold images (B, C, H, W) and B targets; "
            f"got {tuple(image.shape)} and targets {tuple(target.shape)}"
        )
    if not 0 <= batch.external <= len(image):
        raise ValueError(f"external must be a number of the batch's {len(image)} images; got {batch.external}")
    if target.ndim == 1 and (target.is_floating_point() or target.dtype == torch.bool):
        raise ValueError(f"targets (B,) must be class indices; got {target.dtype}; multi-hot is (B, classes)")
    if marks is not None and (
        marks.mask.shape != (len(marks.sample), *image.shape[-2:]) or marks.label.shape != marks.sample.shape
    ):
        raise ValueError(
            f"marks must hold sample (G,), label (G,) and mask (G, {image.shape[-2]}, {image.shape[-1]}); got "
            f"{tuple(marks.sample.shape)}, {tuple(marks.label.shape)} and {tuple(marks.mask.shape)}"
        )
    if marks is not None and len(marks) and marks.sample.device.type == "cpu":
        first, last = int(marks.sample.min()), int(marks.sample.max())
        if first < 0 or last >= len(image):
            raise ValueError(f"marks sample must be 0 to {len(image) - 1}, places in the batch; got {first} to {last}")
    return batch
