"""Cue exchange: an image must mean the same to the network with another image's cue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor, nn

from looksharp.batch import Batch
from looksharp.interventions.pieces import Fill, exchange_pieces
from looksharp.objectives.base import PARTS, Extension, Forward, Term
from looksharp.objectives.exchange import copies_disagree, exchange_partners
from looksharp.objectives.warm_up import WarmUp

__all__ = ["CueExchange", "marked_cues"]


def marked_cues(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the images of a batch with a cue mark, each once, and the union of its cue marks.

    Returns:
        samples (P,) places in rising order, and masks (P, H, W); images whose masks are empty or leave nothing are
        left out.
    """
    cues = batch.cues
    assert cues is not None
    samples, place = cues.sample.unique(return_inverse=True)
    size = cues.mask.shape[-2:]
    masks = cues.mask.new_zeros(len(samples), *size).scatter_reduce(
        0, place[:, None, None].expand(-1, *size), cues.mask, "amax"
    )
    share = masks.mean((-2, -1))
    kept = (share > 0) & (share < 1)
    return samples[kept], masks[kept]


@PARTS.register("cue_exchange")
@dataclass(eq=False)
class CueExchange(Extension):
    """Exchanged cues, and the term "cue_agreement": both predictions for an image agree.

    Each image of the batch with a cue mark, a region that a person called a shortcut, gets a copy in which the cue is
    that of another such image of another class, or, where there is none, gone (see `exchange_pieces`). Every loss of
    class labels reads the copies like other images. The term is the symmetric divergence between the predictions for an
    image and its copy, averaged over the copies.

    Args:
        weight: weight of the term.
        warmup: training steps over which the weight rises from 0.
        fill: what takes the cue's place: moved, another image's cue, its pixels moved and fitted; spread, that cue
            continued smoothly; own, a smooth continuation of the image's own surroundings.
        most: copies of one batch; of more images with a cue mark so many are drawn. All get one if not given.

    Example:
        >>> from looksharp.objectives import Classification
        >>> objective = Classification() + CueExchange(0.3)
    """

    reads_cues = True

    weight: float = 1.0
    warmup: int = 0
    fill: Fill = "moved"
    most: Annotated[int, Ge(2)] | None = None

    def __post_init__(self) -> None:
        self._rise = WarmUp(self.warmup)

    def recorded(self, model: nn.Module, batch: Batch) -> tuple[str, ...]:
        """Return no layers."""
        return ()

    def extend(self, batch: Batch) -> Batch:
        """Return the batch with a copy of each image that has a cue mark."""
        if not batch.cues or len(batch.copies_of(recued=True)[0]):
            return batch
        samples, masks = marked_cues(batch)
        if not len(samples):
            return batch
        if self.most is not None and len(samples) > self.most:
            drawn = torch.randperm(len(samples))[: self.most].sort().values.to(samples.device)
            samples, masks = samples[drawn], masks[drawn]
        images, targets, masks = batch.image[samples], batch.target[samples], masks.to(batch.image.dtype)
        labels = targets if targets.ndim == 1 else targets.argmax(1)
        partners = exchange_partners(labels)
        copies = exchange_pieces(images, masks, images[partners], masks[partners], self.fill)
        same = labels[partners] == labels  # whose cue says the same
        copies[same] = exchange_pieces(images[same], masks[same], images[same], masks[same], "own")
        return batch.extended(copies, targets, samples, recued=True)

    def terms(self, forward: Forward) -> tuple[dict[str, Term], dict[str, Tensor]]:
        """Compare the predictions for the copies with those for the originals."""
        return {"cue_agreement": Term(copies_disagree(forward, recued=True), self.weight * self._rise(forward))}, {}
