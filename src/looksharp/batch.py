"""What one training or evaluation step reads: images, targets and, for some images, guidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Batch", "Guidance", "as_batch"]


@dataclass(frozen=True)
class Guidance:
    """Masks for some (image, class) pairs of a batch, in coordinate form: G pairs.

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


@dataclass(frozen=True)
class Batch:
    """Images with their targets.

    Attributes:
        image: (B, C, H, W), normalised.
        target: (B,) class indices, or (B, classes) multi-hot: 1 present, 0 absent, -1 not known.
        guidance: masks for some images; None if there are none.
        group: (B,) group indices, where groups are known (worst-group accuracy).
        copies: (M,) if the last M images are altered copies of others, the places of those.

    """

    image: Tensor
    target: Tensor
    guidance: Guidance | None = None
    group: Tensor | None = None
    copies: Tensor | None = None

    def __len__(self) -> int:
        return len(self.image)

    @property
    def multilabel(self) -> bool:
        """Whether targets are multi-hot."""
        return self.target.ndim == 2

    def multi_hot(self, classes: int) -> Tensor:
        """Targets as booleans (B, classes)."""
        if self.multilabel:
            return self.target > 0.5
        return torch.nn.functional.one_hot(self.target, classes).bool()

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        guidance = self.guidance
        if guidance is not None:  # also where it is empty
            guidance = Guidance(*(part.to(device) for part in (guidance.sample, guidance.label, guidance.mask)))
        group = None if self.group is None else self.group.to(device)
        copies = None if self.copies is None else self.copies.to(device)
        return Batch(self.image.to(device), self.target.to(device), guidance, group, copies)


def as_batch(batch: Batch | Mapping[str, Tensor] | Sequence[Tensor]) -> Batch:
    """A `Batch` from what data loaders yield: a Batch, `(images, targets)`, or a mapping.

    A mapping holds `image` and `target`, and for guided pairs `sample`, `label` and `mask`.

    Raises:
        ValueError: if shapes do not fit each other.
        TypeError: if it is none of these.

    """
    if isinstance(batch, Mapping):
        guided = "mask" in batch
        guidance = Guidance(batch["sample"], batch["label"], batch["mask"]) if guided else None
        batch = Batch(batch["image"], batch["target"], guidance, batch.get("group"))
    elif isinstance(batch, Sequence) and len(batch) == 2:
        batch = Batch(batch[0], batch[1])
    if not isinstance(batch, Batch):
        raise TypeError(
            f"batch must be a Batch, (images, targets) or a mapping with 'image' and 'target'; "
            f"got {type(batch).__name__}"
        )
    image, target, guidance = batch.image, batch.target, batch.guidance
    if image.ndim != 4 or len(image) != len(target):
        raise ValueError(
            f"batch must hold images (B, C, H, W) and B targets; "
            f"got {tuple(image.shape)} and targets {tuple(target.shape)}"
        )
    if target.ndim == 1 and (target.is_floating_point() or target.dtype == torch.bool):
        raise ValueError(f"targets (B,) must be class indices; got {target.dtype}; multi-hot is (B, classes)")
    if guidance is not None and (
        guidance.mask.shape != (len(guidance.sample), *image.shape[-2:])
        or guidance.label.shape != guidance.sample.shape
    ):
        raise ValueError(
            f"guidance must hold sample (G,), label (G,) and mask (G, {image.shape[-2]}, {image.shape[-1]}); got "
            f"{tuple(guidance.sample.shape)}, {tuple(guidance.label.shape)} and {tuple(guidance.mask.shape)}"
        )
    if guidance is not None and len(guidance) and guidance.sample.device.type == "cpu":
        first, last = int(guidance.sample.min()), int(guidance.sample.max())
        if first < 0 or last >= len(image):
            raise ValueError(
                f"guidance sample must be 0 to {len(image) - 1}, places in the batch; got {first} to {last}"
            )
    return batch
