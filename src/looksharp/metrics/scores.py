"""Maps as scores of the image's pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.attention.maps import resize_maps

__all__ = ["at_resolution", "region", "score_levels", "with_objects"]


def with_objects(maps: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Resize maps to the resolution of their masks, and mark where the objects are.

    Args:
        maps: (G, h, w).
        masks: (G, H, W) in [0, 1].

    Returns:
        scores (G, H, W) in float32, and the pixels of which the object covers more than half, (G, H, W) bool.

    Raises:
        ValueError: if there is not one mask for each map.
    """
    if maps.ndim != 3 or masks.ndim != 3 or len(maps) != len(masks):
        raise ValueError(
            f"masks must be one for each map, maps (G, h, w) and masks (G, H, W); "
            f"got maps {tuple(maps.shape)} and masks {tuple(masks.shape)}"
        )
    return at_resolution(maps, (masks.shape[-2], masks.shape[-1])), masks > 0.5


def at_resolution(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (G, h, w) bilinearly to `size`, in float32.

    The interpolation is in float64: equal values stay equal in float32, so that rounding decides neither where a
    plateau's maximum lies nor how its pixels are ranked.
    """
    return resize_maps(maps.double(), size).float()


def region(scores: Tensor, share: float) -> Tensor:
    """Mark where scores (G, H, W) reach `share` of their maximum, bool; nowhere if that is not above 0.

    Raises:
        ValueError: if `share` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be a share of the map's maximum, above 0 and at most 1; got {share}")
    peak = scores.amax((-2, -1), keepdim=True)
    return (scores >= share * peak) & (peak > 0)


def score_levels(scores: Tensor, levels: int) -> Tensor:
    """Count the thresholds 1/n, 2/n, ..., 1 that each pixel's score reaches, once scores are scaled to [0, 1].

    Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right": each map is normalised by
    its own minimum and maximum. A map that is the same everywhere, or not finite, reaches none.

    Args:
        scores: (G, H, W).
        levels: n.

    Returns:
        (G, H, W) in 0 to n, int64.

    Raises:
        ValueError: if there are no levels.

    Example:
        >>> score_levels(torch.tensor([[[2.0, 3.0, 7.0]]]), 10)
        tensor([[[ 0,  2, 10]]])

    """
    if levels < 1:
        raise ValueError(f"levels must be the number of thresholds, at least 1; got {levels}")
    low, high = scores.amin((-2, -1), keepdim=True), scores.amax((-2, -1), keepdim=True)
    span = high - low
    usable = (span > 0) & span.isfinite()
    return torch.where(usable, (scores - low) / torch.where(usable, span, 1) * levels, 0).long()
