"""Normalising and resizing attention maps."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["fuse_maps", "normalize_maps", "resize_maps", "resize_masks"]


def normalize_maps(maps: Tensor) -> Tensor:
    """Divide each map (..., h, w) by its own largest magnitude: [0, 1], or [-1, 1] for signed maps.

    A map that is zero everywhere stays zero: no evidence is not stretched to full contrast. Differentiable.
    """
    peak = maps.abs().amax((-2, -1), keepdim=True)
    return maps / torch.where(peak > 0, peak, 1)


def resize_maps(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize maps (B, h, w) or (B, K, h, w) bilinearly to `size` (height, width)."""
    grouped = maps.unsqueeze(1) if maps.ndim == 3 else maps
    return F.interpolate(grouped, size, mode="bilinear", align_corners=False).view(*maps.shape[:-2], *size)


def fuse_maps(maps: Mapping[str, Tensor]) -> Tensor:
    """Average maps (B, K, h, w) of several layers, on the grid of the finest one.

    Each map is first divided by its own largest magnitude, since layers have no common unit; signs stay.

    Args:
        maps: layer name -> maps (B, K, h, w).

    Returns:
        Fused maps (B, K, h, w) in [-1, 1].

    Example:
        >>> coarse, fine = torch.ones(1, 1, 1, 1), torch.tensor([[[[0.0, 4.0]]]])
        >>> fuse_maps({"layer3": fine, "layer4": coarse})
        tensor([[[[0.5000, 1.0000]]]])

    """
    height, width = max((found.shape[-2:] for found in maps.values()), key=lambda size: size[0] * size[1])
    return torch.stack([resize_maps(normalize_maps(found), (height, width)) for found in maps.values()]).mean(0)


def resize_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize masks (G, H, W) to `size` by area: each value is the share of its cell that the mask covers."""
    return F.adaptive_avg_pool2d(masks.unsqueeze(1), size).squeeze(1)
