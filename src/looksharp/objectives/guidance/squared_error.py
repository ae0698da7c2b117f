"""Guidance by squared error: the map equals the mask, GAIN_ext."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from looksharp.attention.maps import normalize_maps
from looksharp.batch import BatchMarks
from looksharp.objectives.base import PARTS, Forward
from looksharp.objectives.equations import guidance_squared_error
from looksharp.objectives.guidance.base import MapGuidance, masks_like

__all__ = ["SquaredError"]


@PARTS.register("squared_error")
@dataclass(eq=False)
class SquaredError(MapGuidance):
    """Make the map divided by its maximum equal the mask: GAIN Eq. 7; see `guidance_squared_error`.

    Args:
        weight: weight of the term.
        mechanism: mechanism that makes the maps.
        layer: layer whose maps are read; found in the backbone if not given.
        warmup: training steps over which the weight rises from 0.
    """

    weight: float = 10.0

    def losses(self, forward: Forward, marks: BatchMarks) -> Tensor:
        """Return the mean squared difference of each pair's map and mask, (G,)."""
        attention = self.maps(forward, marks)
        return guidance_squared_error(normalize_maps(attention), masks_like(marks.mask, attention))
