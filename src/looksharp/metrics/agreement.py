"""Measure how far two layers' maps of one class agree, beyond ICASC's consistency (see `separability`)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Unpack

import torch
from torch import Tensor

from looksharp.metrics.grouped import Grouped, MetricOptions
from looksharp.metrics.scores import at_resolution, region

__all__ = ["RankAgreement", "RegionAgreement", "rank_agreement", "region_agreement"]


def rank_agreement(first: Tensor, second: Tensor) -> Tensor:
    """Compute Spearman's rank correlation of two maps over positions, at the finer of their resolutions.

    The maps' scales, and any monotone change of their values, make no difference. Equal values, such as positions
    without evidence, share their mean rank.

    Args:
        first: maps (N, h, w).
        second: maps (N, h', w').

    Returns:
        (N,) in [-1, 1]; NaN if either map is the same everywhere, which ranks nothing.

    Raises:
        ValueError: if there is not one map of each layer for each sample.

    Example:
        >>> rank_agreement(torch.tensor([[[0.0, 1, 5, 9]]]), torch.tensor([[[0.0, 1, 2, 3]]]))
        tensor([1.])

    """
    ranks = [_ranks(maps.flatten(1)) for maps in _alike(first, second)]  # (N, P) float64
    a, b = (rank - rank.mean(1, keepdim=True) for rank in ranks)
    return ((a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()).float()  # 0 / 0 is NaN


def region_agreement(first: Tensor, second: Tensor, share: float = 0.5) -> Tensor:
    """Compute the intersection over union of the regions where two maps reach a share of their own maxima.

    Args:
        first: raw maps >= 0, (N, h, w).
        second: raw maps >= 0, (N, h', w'); both are compared at the finer of their resolutions.
        share: share of each map's maximum.

    Returns:
        (N,) in [0, 1]; NaN if either map is zero everywhere.

    Raises:
        ValueError: if `share` is not in (0, 1], or there is not one map of each layer for each sample.

    Example:
        >>> region_agreement(torch.tensor([[[0.0, 2, 1, 0]]]), torch.tensor([[[0.0, 9, 0, 0]]]))
        tensor([0.5000])

    """
    a, b = (region(maps, share) for maps in _alike(first, second))
    iou = (a & b).sum((-2, -1)) / (a | b).sum((-2, -1))
    return torch.where(a.any(-1).any(-1) & b.any(-1).any(-1), iou, torch.nan)


def _alike(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Bring both maps to the finer resolution."""
    if first.ndim != 3 or second.ndim != 3 or len(first) != len(second):
        raise ValueError(
            f"second must have one map for each of first's, both (N, h, w); "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    size = max(first.shape[-2], second.shape[-2]), max(first.shape[-1], second.shape[-1])
    return at_resolution(first, size), at_resolution(second, size)


def _ranks(values: Tensor) -> Tensor:
    """Rank from 1 within each row (N, P), equal values sharing their mean, in float64."""
    ordered = values.sort(1).values
    below = torch.searchsorted(ordered, values)
    not_above = torch.searchsorted(ordered, values, right=True)
    return (below + not_above + 1).double() / 2


class RankAgreement(Grouped):
    """The mean of `rank_agreement`, updated with two layers' maps.

    Args:
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(self, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]) -> None:
        super().__init__(rank_agreement, groups, **options)


class RegionAgreement(Grouped):
    """The mean of `region_agreement`, updated with two layers' maps.

    Args:
        share: share of each map's maximum.
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(
        self, share: float = 0.5, groups: Mapping[str, int] | None = None, **options: Unpack[MetricOptions]
    ) -> None:
        super().__init__(partial(region_agreement, share=share), groups, **options)
