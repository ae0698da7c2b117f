"""Pixel average precision: a map's pixels as detections of the object's."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Unpack

import torch
from torch import Tensor

from looksharp.metrics.grouped import Grouped, MetricOptions
from looksharp.metrics.scores import score_levels, with_objects

__all__ = ["PixelAveragePrecision", "histogram_average_precision", "pixel_histograms"]


def pixel_histograms(maps: Tensor, masks: Tensor, levels: int = 1000) -> Tensor:
    """Count the pixels off and on the object by their score.

    Choe et al. 2020, "Evaluating Weakly Supervised Object Localization Methods Right". Sums over samples are a
    data set's histograms; `histogram_average_precision` takes either.

    The authors' code resizes maps by bicubic interpolation, here it is bilinear, and leaves out pixels
    marked "ignore", which masks in [0, 1] cannot express.

    Args:
        maps: (G, h, w).
        masks: (G, H, W) in [0, 1]; the object is where they are above 1/2.
        levels: thresholds 1/n, ..., 1 on scores that are scaled to [0, 1] by the map's own minimum and maximum. A
            map that is the same everywhere scores 0 throughout.

    Returns:
        (G, 2, levels + 1): off and on the object, scores from lowest to highest.

    Raises:
        ValueError: if there are no levels, or not one mask for each map.
    """
    scores, objects = with_objects(maps, masks)
    bins = levels + 1
    place = (torch.arange(len(maps), device=maps.device)[:, None, None] * 2 + objects) * bins
    return (place + score_levels(scores, levels)).flatten().bincount(minlength=len(maps) * 2 * bins).view(-1, 2, bins)


def histogram_average_precision(histograms: Tensor) -> Tensor:
    """Compute PxAP: the area under the precision-recall curve of pixels, summed over thresholds.

    Choe et al. 2020, as their code and scikit-learn's `average_precision_score` sum it.

    Args:
        histograms: (..., 2, n) pixels, or shares of pixels, off and on the object by ascending score.

    Returns:
        (...) in [0, 1], in float64; NaN where no pixel is on an object.

    Example:
        >>> histogram_average_precision(torch.tensor([[6, 0, 1], [1, 0, 1]]))
        tensor(0.3611, dtype=torch.float64)

    """
    false, true = histograms.double().flip(-1).cumsum(-1).unbind(-2)  # (..., n) each, from the highest score
    precision = true / (true + false).clamp(min=torch.finfo(torch.float64).tiny)
    steps = torch.diff(true, dim=-1, prepend=torch.zeros_like(true[..., :1]))
    return (precision * steps).sum(-1) / true[..., -1]


class PixelAveragePrecision(Grouped):
    """PxAP over a data set's pixels, updated with (maps, masks): an average precision, not a mean of per-map ones.

    Choe et al. 2020. The mean over a grouping by class is the mPxAP of their later work.

    Args:
        levels: thresholds; 1000 in the authors' code.
        groups: see `Grouped`.
        options: torchmetrics' own.

    Example:
        >>> precision = PixelAveragePrecision()
        >>> precision.update(torch.eye(3)[None], torch.eye(3)[None])
        >>> precision.compute().overall
        tensor(1., dtype=torch.float64)

    """

    def __init__(
        self, levels: int = 1000, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]
    ) -> None:
        measure = partial(pixel_histograms, levels=levels)
        super().__init__(measure, groups, shape=(2, levels + 1), summary=histogram_average_precision, **options)
