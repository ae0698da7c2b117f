"""Box accuracy: compare boxes around high regions of maps with the objects' boxes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from looksharp.metrics.grouped import Grouped, MetricOptions
from looksharp.metrics.scores import at_resolution, score_levels

__all__ = ["MaxBoxAcc", "MaxBoxAccV2", "box_overlaps", "part_boxes"]

_PIXELS = 2**24  # searched at once: bounds memory


def part_boxes(regions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw boxes around the connected parts of regions; pixels that touch at a corner are connected.

    Args:
        regions: (N, H, W) bool.

    Returns:
        boxes (M, 4), the left, top, right and bottom edge, (0, 0, 1, 1) for the first pixel; the region each is a
        part of (M,), ascending; and its pixels (M,). On the CPU, where parts are found.

    Example:
        >>> part_boxes(torch.tensor([[[True, False, False], [True, False, True]]]))
        (tensor([[0, 0, 1, 2],
                [2, 1, 3, 2]]), tensor([0, 0]), tensor([2, 1]))

    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    # Runs of pixels within a row are joined, not pixels: there are far fewer. The gaps around rows and behind regions
    # end every run with its row, and keep regions apart.
    padded = F.pad(regions.cpu(), (1, 1, 0, 1))
    height, width = padded.shape[1:]
    pixels = padded.numpy().ravel()
    before, last = np.flatnonzero(pixels[1:] != pixels[:-1]).reshape(-1, 2).T  # the pixel before a run, and its last
    first = np.searchsorted(last, before + width)  # of the runs in the next row that touch it
    touching = np.searchsorted(before, last + width, side="right") - first
    upper = np.repeat(np.arange(len(before)), touching)
    lower = np.arange(len(upper)) + np.repeat(first - touching.cumsum() + touching, touching)
    joined = coo_array((np.ones(len(upper), bool), (upper, lower)), shape=(len(before), len(before)))
    count, numbers = connected_components(joined, directed=False) if len(before) else (0, before)

    part, row = torch.from_numpy(numbers).long(), torch.from_numpy(before // width)
    left, right, top = torch.from_numpy(before % width), torch.from_numpy(last % width), row % height
    boxes = _around(torch.stack([left, top, right, top + 1], 1), part, count)
    region = part.new_zeros(count).scatter(0, part, row // height)
    return boxes, region, part.new_zeros(count).scatter_add(0, part, right - left)


def _around(boxes: Tensor, owner: Tensor, count: int) -> Tensor:
    """Draw the boxes (count, 4) around the boxes (M, 4) of each owner (M,); zeros around none."""
    corners = boxes.new_zeros(2, count, 2)
    for corner, edges, how in zip(corners, boxes.split(2, 1), ("amin", "amax"), strict=True):
        corner.scatter_reduce_(0, owner[:, None].expand(-1, 2), edges, how, include_self=False)
    return torch.cat(corners.unbind(), 1)


def box_overlaps(
    maps: Tensor, masks: Tensor, levels: int = 100, *, largest: bool = False, split: bool = False
) -> Tensor:
    """Measure how well the best box of a map fits the best fitting box of its objects, at each threshold.

    Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right": maps are scaled to [0, 1] by
    their own minimum and maximum, and boxes are drawn around the connected parts of regions that reach a threshold.

    The authors' code differs. It resizes maps by bicubic interpolation, here it is bilinear. It rounds scores to 8
    bits, which is `levels=255`, and compares them with 1000 thresholds, 255 of which differ. Its boxes reach one pixel
    too far to the right and below, here they are exact. It also draws boxes around holes. Its largest part has the
    largest polygon through the centres of the outer pixels, here it has the most pixels. Threshold 0, at which every
    box is the whole image, is left out in both.

    Args:
        maps: (G, h, w).
        masks: (G, H, W) in [0, 1], an object where they are above 1/2; or (G, P, H, W) for several objects, with
            zeros where there are fewer.
        levels: thresholds 1/n, 2/n, ..., 1.
        largest: use only the box of the part with the most pixels (all such parts in a tie).
        split: take every connected part of a mask for an object, where a mask unites all objects of a class.

    Returns:
        (G, levels) intersection over union in [0, 1]; 0 without a box or an object. A map that is the same
        everywhere has no box.

    Raises:
        ValueError: if there are no levels, or masks do not fit the maps.
    """
    if maps.ndim != 3 or masks.ndim not in (3, 4) or len(maps) != len(masks):
        raise ValueError(
            f"masks must be one for each map, or several, maps (G, h, w) and masks (G, H, W) or (G, P, H, W); "
            f"got maps {tuple(maps.shape)} and masks {tuple(masks.shape)}"
        )
    if not len(maps):
        return maps.new_zeros(0, levels)
    size = masks.shape[-2], masks.shape[-1]
    objects = _object_boxes((masks if masks.ndim == 4 else masks.unsqueeze(1)) > 0.5, split)  # (G, Q, 4)
    reached = score_levels(at_resolution(maps, size), levels).cpu()
    thresholds = torch.arange(1, levels + 1)[:, None, None]
    chunk = max(_PIXELS // (levels * size[0] * size[1]), 1)
    best = [
        _best(scores.unsqueeze(1) >= thresholds, boxes, largest)
        for scores, boxes in zip(reached.split(chunk), objects.split(chunk), strict=True)
    ]
    return torch.cat(best).to(maps.device)


def _object_boxes(objects: Tensor, split: bool) -> Tensor:
    """Return boxes (G, Q, 4) of objects (G, P, H, W), padded with empty ones."""
    samples, number = objects.shape[:2]
    boxes, index, _ = part_boxes(objects.flatten(0, 1))
    if not split:
        boxes, index = _around(boxes, index, samples * number), torch.arange(samples * number)
    counts = (index // number).bincount(minlength=samples).tolist()
    return F.pad(pad_sequence(boxes.split(counts), batch_first=True), (0, 0, 0, 1))  # never without any box


def _best(regions: Tensor, objects: Tensor, largest: bool) -> Tensor:
    """Find the largest IoU (g, levels) of boxes of regions (g, levels, H, W) and objects (g, P, 4)."""
    samples, levels = regions.shape[:2]
    boxes, index, sizes = part_boxes(regions.flatten(0, 1))
    best = torch.zeros(samples * levels)
    if largest:
        most = sizes.new_zeros(len(best)).scatter_reduce(0, index, sizes, "amax")
        chosen = sizes == most[index]
        boxes, index = boxes[chosen], index[chosen]
    overlaps = _iou(boxes.unsqueeze(1), objects[index // levels]).amax(1)  # (M,)
    return best.scatter_reduce(0, index, overlaps, "amax").view(samples, levels)


def _iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Compute the intersection over union of boxes (..., 4), which broadcast; 0 with an empty one."""
    first, last = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    shared = (last - first).clamp(min=0).prod(-1)
    areas = [(each[..., 2:] - each[..., :2]).prod(-1) for each in (boxes, others)]
    return shared / (areas[0] + areas[1] - shared)


class MaxBoxAcc(Grouped):
    """MaxBoxAcc: the share of maps whose box fits an object's, at the threshold that suits the data set best.

    Choe et al. 2020: the box of the largest part, with an intersection over union of at least one half. Updated with
    (maps, masks); see `box_overlaps`. A map without a box is a miss, not undefined.

    Args:
        levels: thresholds on the map.
        split: take every connected part of a mask for an object.
        groups: see `Grouped`; each group's threshold is its own.
        options: torchmetrics' own.

    Example:
        >>> accuracy = MaxBoxAcc()
        >>> accuracy.update(torch.eye(8)[None], torch.eye(8)[None])
        >>> accuracy.compute().overall
        tensor(1., dtype=torch.float64)

    """

    def __init__(
        self,
        levels: int = 100,
        split: bool = False,
        groups: Mapping[str, int] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        measure = partial(_hits, fits=(0.5,), levels=levels, largest=True, split=split)
        super().__init__(measure, groups, shape=(1, levels), summary=_best_threshold, **options)


class MaxBoxAccV2(Grouped):
    """MaxBoxAccV2: as `MaxBoxAcc`, with all parts' boxes, averaged over IoU thresholds .3, .5 and .7.

    Choe et al. 2020, the authors' revision of the metric. Each of the three has a best threshold of its own.

    Args:
        levels: thresholds on the map.
        split: take every connected part of a mask for an object.
        groups: see `Grouped`; each group's thresholds are its own.
        options: torchmetrics' own.
    """

    def __init__(
        self,
        levels: int = 100,
        split: bool = False,
        groups: Mapping[str, int] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        measure = partial(_hits, fits=(0.3, 0.5, 0.7), levels=levels, largest=False, split=split)
        super().__init__(measure, groups, shape=(3, levels), summary=_best_threshold, **options)


def _hits(maps: Tensor, masks: Tensor, *, fits: tuple[float, ...], levels: int, largest: bool, split: bool) -> Tensor:
    """Return whether a box fits well enough, (G, fits, levels)."""
    overlaps = box_overlaps(maps, masks, levels, largest=largest, split=split)
    return overlaps.unsqueeze(1) >= torch.tensor(fits, device=maps.device).unsqueeze(1)


def _best_threshold(accuracies: Tensor) -> Tensor:
    """Reduce accuracies (..., fits, levels) to each row's best, averaged, (...)."""
    return accuracies.amax(-1).mean(-1)
