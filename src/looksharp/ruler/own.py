"""The network's own attention as one map, to be judged beside the mechanisms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.attention.maps import normalize_maps, resize_maps
from looksharp.networks.built_in import built_in_attention

__all__ = ["BUILT_IN", "own_map"]

BUILT_IN = "built_in"
"""The name of the network's own attention, in place of a mechanism's."""


def own_map(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Return the attention that a network used, as one map (B, h, w) >= 0 at its finest resolution.

    Maps of several heads and places are stretched to a largest value of 1 each and averaged; where the shares of heads
    in the output are known, weighted by them. Where maps belong to classes, the map of the image's class is taken.

    Args:
        model: a network around a backbone that has attention of its own.
        images: (B, C, H, W), normalised as the model expects.
        classes: (B,).

    Raises:
        ValueError: if the model has no attention of its own.
    """
    found = built_in_attention(model, images)
    size = max((maps.shape[-2:] for maps in found.maps.values()), key=lambda each: each.numel())
    total = images.new_zeros(len(images), *size, dtype=torch.float32)
    for place, made in found.maps.items():
        index = classes.view(-1, 1, 1, 1).expand(-1, 1, *made.shape[-2:])
        maps = made.gather(1, index) if found.per_class else made
        shares = found.shares.get(place, maps.new_full(maps.shape[:2], 1 / maps.shape[1]))
        each = resize_maps(normalize_maps(maps.float()), (size[0], size[1]))  # (B, K, h, w)
        total += (each * shares.float()[..., None, None]).sum(1)
    return total
