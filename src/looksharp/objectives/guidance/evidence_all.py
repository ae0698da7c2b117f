"""Guidance by all evidence: none outside the mask, for or against any class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.batch import BatchMarks
from looksharp.objectives.base import PARTS, Forward
from looksharp.objectives.equations import guidance_energy
from looksharp.objectives.guidance.base import MapGuidance, masks_like

__all__ = ["EvidenceAll"]


@PARTS.register("evidence_all")
@dataclass(eq=False)
class EvidenceAll(MapGuidance):
    """Keep the evidence for and against all classes inside the mask.

    As `Evidence`, for the maps of all classes together. For images of one class their mean is subtracted first, since
    softmax ignores it. It runs a backward per class unless the layer is pooled into one linear classifier.

    Args:
        weight: weight of the term.
        mechanism: mechanism that makes the maps.
        layer: layer whose maps are read; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the share of the image's evidence outside each pair's mask, (G,)."""
        maps = self.maps_of_all(forward)  # (B, C, h, w)
        if not forward.batch.multilabel:
            maps = maps - maps.mean(1, keepdim=True)
        attention = maps.abs().sum(1)[marks.sample]  # (G, h, w)
        return guidance_energy(attention, masks_like(marks.mask, attention))
