"""Measure how well attention coincides with objects whose masks or boxes are known."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.maps import resize_maps
from looksharp.metrics.grouped import Grouped, MetricOptions
from looksharp.metrics.scores import region, with_objects

__all__ = ["AttentionInside", "MapIoU", "PointingGame", "attention_inside", "map_iou", "pointing_game", "size_groups"]


def attention_inside(maps: Tensor, masks: Tensor) -> Tensor:
    """Compute the share of a map's mass inside the object: the energy-based pointing game.

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


def pointing_game(maps: Tensor, masks: Tensor, tolerance: float = 0) -> Tensor:
    """Test whether a map's maximum lies on the object.

    Zhang et al. 2018, "Top-down neural attention by excitation backprop": a hit or a miss, at the image's resolution;
    the share of hits is the accuracy. Published figures tolerate 15 pixels on photographs some 500 pixels wide.
    That is most of a small image, so the default is 0.

    Where several pixels share the maximum, the value is the share of them that hit: the expectation of
    choosing one at random. Other libraries take the first one in reading order.

    Args:
        maps: raw maps >= 0, (G, h, w).
        masks: (G, H, W) in [0, 1]; the object is where they are above 1/2.
        tolerance: largest distance in pixels from the object at which a maximum still hits.

    Returns:
        (G,) in [0, 1]; NaN for a map that is zero everywhere, which points nowhere.

    Raises:
        ValueError: if the tolerance is negative, or there is not one mask for each map.

    Example:
        >>> maps, masks = torch.tensor([[[0.0, 2, 1, 0]]]), torch.tensor([[[0.0, 0, 0, 1]]])
        >>> pointing_game(maps, masks), pointing_game(maps, masks, tolerance=2)
        (tensor([0.]), tensor([1.]))

    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be a number of pixels, 0 or more; got {tolerance}")
    scores, objects = with_objects(maps, masks)
    if tolerance:
        steps = torch.arange(-int(tolerance), int(tolerance) + 1, device=masks.device)
        disc = (steps[:, None] ** 2 + steps**2 <= tolerance**2).float()
        near = F.conv2d(objects.float().unsqueeze(1), disc[None, None], padding=int(tolerance))
        objects = near.squeeze(1) > 0.5
    peaks = region(scores, 1)
    return (peaks & objects).sum((-2, -1)) / peaks.sum((-2, -1))  # 0 / 0 is NaN


def map_iou(maps: Tensor, masks: Tensor, share: float = 0.2) -> Tensor:
    """Compute the IoU of the object and the region where a map reaches a share of its maximum.

    Args:
        maps: raw maps >= 0, (G, h, w).
        masks: (G, H, W) in [0, 1]; the object is where they are above 1/2.
        share: share of the map's maximum; 0.2 in Zhou et al. 2016, "Learning Deep Features for Discriminative
            Localization", Sec. 3.2.

    Returns:
        (G,) in [0, 1]; NaN for a map that is zero everywhere, which has no such region.

    Raises:
        ValueError: if `share` is not in (0, 1], or there is not one mask for each map.

    Example:
        >>> map_iou(torch.tensor([[[0.0, 2, 1, 0]]]), torch.tensor([[[0.0, 0, 1, 1]]]))
        tensor([0.3333])

    """
    scores, objects = with_objects(maps, masks)
    seen = region(scores, share)
    iou = (seen & objects).sum((-2, -1)) / (seen | objects).sum((-2, -1))
    return torch.where(seen.any(-1).any(-1), iou, torch.nan)


def size_groups(masks: Tensor, edges: tuple[float, ...] = (0.1, 0.25)) -> Tensor:
    """Group objects by how much of their image they cover: 0 for the smallest.

    Areas in pixels, as COCO's, depend on the image's size. The default shares of small, medium and large are near
    the terciles of the animals in PASCAL VOC 2012, .09 and .24; for other data, use their own quantiles.

    Args:
        masks: (G, H, W) in [0, 1].
        edges: ascending shares of the image; a group reaches from one edge, included, to the next, excluded.

    Returns:
        (G,) in 0 to the number of edges.

    Raises:
        ValueError: if edges do not ascend.

    Example:
        >>> masks = torch.tensor([[[0.0, 0, 0, 1]], [[1.0, 1, 0, 1]]])
        >>> size_groups(masks), size_groups(masks, edges=(0.3,))
        (tensor([2, 2]), tensor([0, 1]))

    """
    if list(edges) != sorted(set(edges)):
        raise ValueError(f"edges must ascend; got {', '.join(map(str, edges))}")
    shares = masks.double().mean((-2, -1))
    return torch.bucketize(shares, torch.tensor(edges, dtype=shares.dtype, device=masks.device), right=True)


class AttentionInside(Grouped):
    """The mean of `attention_inside`, updated with (maps, masks).

    Args:
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(self, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]) -> None:
        super().__init__(attention_inside, groups, **options)


class PointingGame(Grouped):
    """The accuracy of `pointing_game`, updated with (maps, masks).

    Args:
        tolerance: pixels; 15 in published figures.
        groups: see `Grouped`.
        options: torchmetrics' own.

    Example:
        >>> game = PointingGame(groups={"label": 3})
        >>> maps, masks = torch.eye(4).view(4, 2, 2), torch.eye(4)[[0, 1, 2, 0]].view(4, 2, 2)
        >>> game.update(maps, masks, label=torch.tensor([0, 0, 1, 1]))
        >>> game.compute().groups["label"]
        tensor([1.0000, 0.5000,    nan], dtype=torch.float64)

    """

    def __init__(
        self, tolerance: float = 0, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]
    ) -> None:
        super().__init__(partial(pointing_game, tolerance=tolerance), groups, **options)


class MapIoU(Grouped):
    """The mean of `map_iou`, updated with (maps, masks).

    Args:
        share: share of the map's maximum.
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(
        self, share: float = 0.2, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]
    ) -> None:
        super().__init__(partial(map_iou, share=share), groups, **options)
