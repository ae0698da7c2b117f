"""SEC's rule for seeds: high class maps, low saliency, conflicts to the smaller class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from looksharp.marks.class_images import UNKNOWN

__all__ = ["background_seeds", "seed_labels"]


def seed_labels(
    maps: Tensor, classes: Sequence[int], background: Tensor | None = None, *, threshold: float = 0.2
) -> Tensor:
    """Label each pixel by the class that its map seeds, by the background, or as unknown.

    Kolesnikov and Lampert 2016, Sec. 3.2 and 4.1; GAIN Sec. 4: a class's seeds are all positions above 20% of its map's
    maximum. Where classes conflict, the one with fewer seeds has the pixel, the first in a tie; a class goes
    before the background.

    Args:
        maps: (K, H, W), at least 0; a map that is 0 everywhere seeds nothing.
        classes: K class indices, from 0.
        background: (H, W), True where the background is; see `background_seeds`.
        threshold: share of a map's maximum.

    Returns:
        (H, W) uint8: 0 for the background, 1 + class, or 255 where unknown.

    Raises:
        ValueError: if the threshold is no share, or there is not one class for each map.

    Example:
        >>> maps, background = torch.tensor([[[0.1, 0.5, 1.0]], [[0.0, 0.0, 2.0]]]), torch.tensor([[True, True, False]])
        >>> seed_labels(maps, [4, 7], background)
        tensor([[0, 5, 8]], dtype=torch.uint8)

    """
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold must be at least 0 and below 1; got {threshold:g}")
    if len(maps) != len(classes):
        raise ValueError(f"classes must be one for each map; got {len(classes)} for {len(maps)} maps")
    labels = torch.full(maps.shape[1:], UNKNOWN, dtype=torch.uint8, device=maps.device)
    if background is not None:
        labels[background] = 0
    seeds = maps > threshold * maps.amax((1, 2), keepdim=True)  # never true of a map of zeros
    sizes = seeds.sum((1, 2)).tolist()
    for place in sorted(range(len(maps)), key=lambda k: (-sizes[k], -k)):  # the last one written has the pixel
        labels[seeds[place]] = 1 + classes[place]
    return labels


def background_seeds(saliency: Tensor, share: float = 0.1) -> Tensor:
    """Return where an image is least salient: the lowest tenth, and all that is as low as its highest.

    Args:
        saliency: (H, W), higher where something is.
        share: share of the image.

    Returns:
        (H, W), True for the background; nowhere if saliency is the same everywhere.

    Raises:
        ValueError: if `share` is outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1; got {share:g}")
    count = int(share * saliency.numel())
    if count == 0 or saliency.max() == saliency.min():
        return torch.zeros_like(saliency, dtype=torch.bool)
    return saliency <= saliency.flatten().kthvalue(count).values
