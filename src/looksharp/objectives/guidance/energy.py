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
        weight: weight of the term.
        mechanism: mechanism that makes the maps.
        layer: layer whose maps are read; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the share of each pair's map outside its mask, (G,)."""
        attention = self.maps(forward, marks)
        return guidance_energy(attention, masks_like(marks.mask, attention))
