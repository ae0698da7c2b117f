"""Guidance by evidence: none outside the mask, whether for the class or against it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.batch import BatchMarks
from looksharp.objectives.base import PARTS, Forward
from looksharp.objectives.equations import guidance_energy
from looksharp.objectives.guidance.base import MapGuidance, masks_like

__all__ = ["Evidence"]


@PARTS.register("evidence")
@dataclass(eq=False)
class Evidence(MapGuidance):
    """Keep the evidence for and against the class inside the mask.

    As `Energy`, with the map before its ReLU.

    Args:
        weight: weight of the term.
        mechanism: mechanism that makes the maps.
        layer: layer whose maps are read; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the share of each pair's signed map outside its mask, (G,)."""
        attention = self.maps(forward, marks, signed=True)
        return guidance_energy(attention, masks_like(marks.mask, attention))
