"""Guidance by energy: no attention outside the mask."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.batch import BatchMarks
from looksharp.objectives.base import PARTS, Forward
from looksharp.objectives.equations import guidance_energy
from looksharp.objectives.guidance.base import MapGuidance, masks_like

__all__ = ["Energy"]


@PARTS.register("energy")
@dataclass(eq=False)
class Energy(MapGuidance):
    """Keep the map's mass inside the mask; see `guidance_energy`.

    Args:
        weight: of the term.
        mechanism: how maps are made.
        layer: the layer they are read from; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the share of each pair's map outside its mask, (G,)."""
        attention = self.maps(forward, marks)
        return guidance_energy(attention, masks_like(marks.mask, attention))
