"""Guidance by contrast: nothing outside the mask tells the class from its rival."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from looksharp.batch import BatchMarks
from looksharp.objectives.base import PARTS, Forward
from looksharp.objectives.equations import guidance_energy
from looksharp.objectives.guidance.base import MapGuidance, masks_like

__all__ = ["Contrast"]


@PARTS.register("contrast")
@dataclass(eq=False)
class Contrast(MapGuidance):
    """Keep all that tells the class from the most confusing one inside the mask.

    As `Evidence`, for the class's signed map minus that of the wrong class with the highest score. An image without a
    wrong class counts as 0.

    Args:
        weight: weight of the term.
        mechanism: mechanism that makes the maps.
        layer: layer whose maps are read; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the share of each pair's difference of maps outside its mask, (G,)."""
        samples, labels = marks.sample, marks.label
        scores = forward.logits.detach().float()[samples]
        true = forward.batch.multi_hot(scores.shape[1])[samples].scatter(1, labels.unsqueeze(1), True)
        confusing = scores.masked_fill(true, -torch.inf).argmax(1)
        own, rival = (self.maps(forward, marks, classes, signed=True) for classes in (labels, confusing))
        attention = (own - rival).masked_fill(true.all(1)[:, None, None], 0)  # no wrong class to tell it from
        return guidance_energy(attention, masks_like(marks.mask, attention))
