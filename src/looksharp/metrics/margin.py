"""Measure how far apart the probabilities of the true class and of the most confusing one are distributed."""

from __future__ import annotations

from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from looksharp.metrics.grouped import MetricOptions

__all__ = ["Separation", "SeparationChart", "separation_chart"]


class Separation(NamedTuple):
    """The Kolmogorov-Smirnov chart of ICASC Fig. 9.

    Attributes:
        probability: (P,) ascending.
        target: (P,) the share of images whose true class has at most that probability.
        confused: (P,) the same for the most confusing class.
        margin: () the largest distance of the two, the KS statistic, in [0, 1]; NaN without images.
        at: () the lowest probability at which it is reached; NaN without images.
    """

    probability: Tensor
    target: Tensor
    confused: Tensor
    margin: Tensor
    at: Tensor


def separation_chart(target: Tensor, confused: Tensor) -> Separation:
    """Return both distribution functions, and where they are farthest apart.

    ICASC Fig. 9 and Sec. 4.2.1: the two-sample Kolmogorov-Smirnov statistic; the wider the margin, the less the
    network confuses classes.

    Args:
        target: (N,) probabilities of the true class.
        confused: (M,) probabilities of the most confusing class.

    Returns:
        The chart at every probability that occurs, in float64.

    Example:
        >>> chart = separation_chart(torch.tensor([0.5, 0.75, 1.0]), torch.tensor([0.0, 0.25, 0.5]))
        >>> round(chart.margin.item(), 3), chart.at.item()
        (0.667, 0.25)

    """
    probability = torch.cat([target, confused]).double().unique()
    reached = (torch.searchsorted(v.double().sort().values, probability, right=True) for v in (target, confused))
    return _chart(probability, *reached)


def _chart(probability: Tensor, target: Tensor, confused: Tensor) -> Separation:
    """Build the chart from how many (P,) of either class have at most each probability."""
    shares = target / target[-1:].double(), confused / confused[-1:].double()  # 0 / 0 is NaN
    margin = at = probability.new_tensor(torch.nan)
    if len(probability) and target[-1] and confused[-1]:
        place = (confused * target[-1] - target * confused[-1]).abs().argmax()  # in whole numbers: ties are ties
        margin, at = (shares[1] - shares[0])[place].abs(), probability[place]
    return Separation(probability, *shares, margin, at)


class SeparationChart(Metric):
    """`separation_chart` of any number of images, in bounded memory.

    Probabilities are counted in bins that include their upper edge, so the distribution functions are exact at the
    edges, and the margin falls short of the exact one by at most the share of images in one bin.

    Args:
        bins: number of bins in [0, 1].
        options: torchmetrics' own.

    Example:
        >>> chart = SeparationChart(bins=4)
        >>> chart.update(torch.tensor([0.5, 0.75, 1.0]), torch.tensor([0.0, 0.25, 0.5]))
        >>> chart.compute().confused
        tensor([0.3333, 0.6667, 1.0000, 1.0000, 1.0000], dtype=torch.float64)

    """

    full_state_update = False
    counts: Tensor

    def __init__(self, bins: int = 200, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        if bins < 1:
            raise ValueError(f"bins must be at least 1; got {bins}")
        self.bins = bins
        self.add_state("counts", torch.zeros(2, bins + 1, dtype=torch.int64), "sum")

    def update(self, target: Tensor, confused: Tensor) -> None:
        """Count probabilities of the true class (N,) and of the most confusing one (M,)."""
        for row, values in enumerate((target, confused)):
            places = (values.double() * self.bins).ceil().long().clamp(0, self.bins)
            self.counts[row] += places.bincount(minlength=self.bins + 1)

    def compute(self) -> Separation:
        """Return the chart at the edges 0, 1/bins, ..., 1, over all images counted so far, in all processes."""
        edges = torch.arange(self.bins + 1, dtype=torch.float64, device=self.device) / self.bins
        return _chart(edges, *self.counts.cumsum(1).unbind())
