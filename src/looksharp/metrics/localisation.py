"""How well attention coincides with objects whose masks or boxes are known."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.maps import resize_maps

__all__ = ["attention_inside"]


def attention_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """Share of a map's mass inside the object: the energy-based pointing game.

    Wang et al. 2020, "Score-CAM", Sec. 4.2: sum of the map inside the box over its sum, at the image's resolution.

    Args:
        maps: raw maps >= 0, (G, h, w).
        masks: (G, H, W) in [0, 1].

    Returns:
        (G,) in [0, 1]; NaN for a map that is zero everywhere, which looks nowhere.
    """
    large = resize_maps(maps, (masks.shape[-2], masks.shape[-1]))
    total = large.sum((-2, -1))
    return torch.where(total > 0, (large * masks).sum((-2, -1)) / total, torch.nan)
