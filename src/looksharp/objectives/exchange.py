"""Marked objects in exchanged surroundings, and the disagreement of two predictions for them."""

from __future__ import annotations

from abc import ABC
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from looksharp.batch import Batch
from looksharp.interventions.surroundings import exchange_surroundings, surroundings_only
from looksharp.objectives.base import Extension, Forward
from looksharp.objectives.second_pass import second_pass

if TYPE_CHECKING:
    from looksharp.data.split import Pixels, Split

__all__ = [
    "Exchange",
    "copies_disagree",
    "disagreement",
    "exchange_partners",
    "marked_objects",
    "surroundings_disagree",
]


def exchange_partners(labels: Tensor) -> Tensor:
    """Pair each of G images with another one, of another class unless one class has more than half of them.

    Args:
        labels: (G,) one class per image.

    Returns:
        (G,) places, a permutation drawn at random.
    """
    order = torch.randperm(len(labels), device=labels.device)
    order = order[labels[order].argsort(stable=True)]  # class after class, shuffled within
    most = int(torch.bincount(labels).max()) if len(labels) else 0
    shift = min(most, max(len(labels) - 1, 0))
    partners = torch.empty_like(order)
    partners[order] = order.roll(shift)
    return partners


def disagreement(logits: Tensor, others: Tensor, present: Tensor | None = None) -> Tensor:
    """Compute the divergence both ways between two predictions, KL(p || q) + KL(q || p), per image.

    For multi-label images the Bernoulli divergences of the classes that are present, averaged.

    Args:
        logits: (N, C).
        others: (N, C).
        present: (N, C) in {0, 1}, the classes of multi-label images to compare; None for a softmax.

    Returns:
        (N,) >= 0; 0 if the predictions agree.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    logits, others = logits.to(precise), others.to(precise)
    if present is not None:
        # For Bernoulli variables the sum of both divergences is (p - q) times the difference of logits.
        values = (logits.sigmoid() - others.sigmoid()) * (logits - others)
        return (values * present).sum(1) / present.sum(1).clamp(min=1)
    p, q = logits.log_softmax(1), others.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1)


def copies_disagree(forward: Forward, *, recued: bool) -> Tensor:
    """Return the mean disagreement between the predictions for images and for their copies; 0 without copies.

    Args:
        forward: the forward of a batch with copies.
        recued: compare copies in which the cue was exchanged; otherwise those with other surroundings.
    """
    batch, logits = forward.batch, forward.logits
    originals, copies = batch.copies_of(recued)
    if not len(copies):
        return logits.new_zeros(())
    # In a multi-label image the copy may keep the labels of its object alone.
    present = batch.target[copies] if batch.multilabel else None
    return disagreement(logits[originals], logits[copies], present).mean()


def marked_objects(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return the marked images of a batch, each once, with the masks of its true classes united.

    Returns:
        samples (P,) places in rising order, masks (P, H, W), and targets (P,), or multi-hot (P, C), of the
        classes that the masks cover; classes without a mask stay behind with the surroundings.
    """
    marks = batch.marks
    assert marks is not None
    targets = batch.target[marks.sample]
    present = (
        targets.gather(1, marks.label.unsqueeze(1)).squeeze(1) > 0.5 if batch.multilabel else targets == marks.label
    )
    # An object that fills nothing or all of the image has no surroundings to exchange.
    share = marks.mask.mean((-2, -1))
    chosen = present & (share > 0) & (share < 1)
    samples, place = marks.sample[chosen].unique(return_inverse=True)
    size = marks.mask.shape[-2:]
    masks = marks.mask.new_zeros(len(samples), *size).scatter_reduce(
        0, place[:, None, None].expand(-1, *size), marks.mask[chosen], "amax"
    )
    if not batch.multilabel:
        return samples, masks, batch.target[samples]
    kept = torch.zeros_like(batch.target[samples])
    kept[place, marks.label[chosen]] = 1
    return samples, masks, kept


def surroundings_disagree(forward: Forward, most: int) -> Tensor:
    """Return the mean disagreement between the predictions for surroundings alone of different classes.

    The objects of at most `most` marked images, drawn at random, are removed (see `surroundings_only`), and another
    forward predicts what is left. For multi-label images it compares the classes whose objects are removed from the
    one image and cannot be seen in the other.

    Args:
        forward: the forward of a batch with marks.
        most: images to compare.

    Returns:
        Scalar >= 0; 0 if there are fewer than two marked images.
    """
    batch, nothing = forward.batch, forward.logits.new_zeros(())
    if not batch.marks:
        return nothing
    samples, masks, targets = marked_objects(batch)
    if len(samples) < 2:
        return nothing
    drawn = torch.randperm(len(samples))[:most].to(samples.device)
    samples, masks, targets = samples[drawn], masks[drawn].to(batch.image.dtype), targets[drawn]
    images = batch.image[samples]
    # Beside the images themselves, so that BatchNorm's statistics are not those of surroundings alone.
    logits = second_pass(forward.model, torch.cat([surroundings_only(images, masks), images]))[: len(samples)]
    partners = exchange_partners(targets.argmax(1) if batch.multilabel else targets)
    present = None
    if batch.multilabel:
        removed = targets > 0
        present = targets * (removed | (batch.target[samples] == 0))[partners]
    return disagreement(logits, logits[partners], present).mean()


@dataclass(eq=False)
class Exchange(Extension, ABC):
    """Copies of marked images, their objects in other surroundings: the base of parts that train on such copies.

    Each marked image of the batch gets a copy whose object stands in the surroundings of another marked image, of
    another class where there are any (see `exchange_surroundings`). The copies join the batch once, however many
    parts ask for them, and every loss of class labels reads them like other images. At least two marked images a
    batch are needed, unless there are backgrounds; the cost is that of the added images.

    Args:
        backgrounds: surroundings to draw from instead: a folder of photographs, which `prepare` reads, or a tensor
            (N, C, H, W), normalised, of the images' size.
    """

    reads_marks = True

    _: KW_ONLY
    backgrounds: Path | Tensor | None = None

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return no layers."""
        return ()

    def prepare(self, images: Split, pixels: Pixels, seed: int) -> None:
        """Read the folder of backgrounds, if there is one.

        Raises:
            ValueError: if there is no such folder, or no image in it.
        """
        if isinstance(self.backgrounds, str | Path):
            from looksharp.data.backgrounds import read_backgrounds  # here, because it loads torchvision

            self.backgrounds = read_backgrounds(Path(self.backgrounds), pixels, seed)

    def extend(self, batch: Batch) -> Batch:
        """Return the batch with a copy of each marked image; the copies are not marked themselves."""
        if not batch.marks or len(batch.copies_of(recued=False)[0]):
            return batch
        samples, masks, targets = marked_objects(batch)
        if len(samples) <= (self.backgrounds is None):  # nothing to exchange, or nothing to exchange it with
            return batch
        copies = self._exchanged(batch.image[samples], masks.to(batch.image.dtype), targets)
        return batch.extended(copies, targets, samples, recued=False)

    def _exchanged(self, images: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
        if isinstance(self.backgrounds, str | Path):
            raise ValueError(f"backgrounds {self.backgrounds} are not read yet: call prepare, or give a tensor")
        if self.backgrounds is not None:
            drawn = torch.randint(len(self.backgrounds), (len(images),))
            return exchange_surroundings(images, masks, self.backgrounds[drawn].to(images))
        partners = exchange_partners(targets if targets.ndim == 1 else targets.argmax(1))
        return exchange_surroundings(images, masks, images[partners], masks[partners])
