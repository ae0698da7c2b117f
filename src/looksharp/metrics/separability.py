"""Measure how far the attention of confused classes overlaps, and how consistent it is across layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from looksharp.metrics.grouped import MetricOptions
from looksharp.objectives.equations import separation_and_consistency

__all__ = ["ConfusedPair", "ConfusedPairs", "separability"]


def separability(inner: Tensor, last: Tensor) -> dict[str, Tensor]:
    """Measure ICASC's attention terms per image.

    ICASC Eq. 3 to 5, with the paper's sigma 0.55 and omega 100.

    Args:
        inner: raw maps (B, T + 1, h, w) at the inner layer, that of the most confusing class last.
        last: raw maps (B, T + 1, h', w') at the last layer.

    Returns:
        "overlap_inner", "overlap_last": L_AS in [0, 1], lower is better separated; "consistency": the share of the
        inner layer's attention within the last layer's target region, in [0, 1], higher is better. Each (B, T).
    """
    terms = separation_and_consistency(inner, last, theta=0.0)
    return {
        "overlap_inner": terms["separation_inner"],
        "overlap_last": terms["separation_last"],
        "consistency": -terms["consistency"],
    }


class ConfusedPair(NamedTuple):
    """Two classes that are confused.

    Attributes:
        true: the true class.
        taken: the wrong class that scores higher.
        times: number of confusions.
        overlap: mean overlap of their attention there; NaN if unknown.
    """

    true: int
    taken: int
    times: int
    overlap: float


class ConfusedPairs(Metric):
    """Count the pairs of confused classes, and average the overlap of their attention.

    Keeps a row for each pair of classes that is confused at least once.

    Args:
        options: torchmetrics' own.

    Example:
        >>> pairs = ConfusedPairs()
        >>> pairs.update(torch.tensor([3, 1, 3]), torch.tensor([5, 0, 5]), torch.tensor([0.5, 0.25, 0.75]))
        >>> pairs.compute()
        [ConfusedPair(true=3, taken=5, times=2, overlap=0.625), ConfusedPair(true=1, taken=0, times=1, overlap=0.25)]

    """

    full_state_update = False
    pairs: list[Tensor] | Tensor  # torchmetrics joins lists where there are several processes
    sums: list[Tensor] | Tensor

    def __init__(self, **options: Unpack[MetricOptions]) -> None:
        super().__init__(**options)
        self.add_state("pairs", [], "cat")  # (P, 2) true class and the one it is taken for
        self.add_state("sums", [], "cat")  # (P, 2) how often, and the sum of overlaps

    def update(self, true: Tensor, taken: Tensor, overlap: Tensor | None = None) -> None:
        """Count confusions.

        Args:
            true: (N,) the true classes.
            taken: (N,) the classes they are taken for.
            overlap: (N,) overlap of their attention, if known.
        """
        values = torch.full(true.shape, torch.nan) if overlap is None else overlap
        sums = torch.stack([torch.ones_like(values, dtype=torch.float64), values.double()], 1)
        pairs, sums = _summed([*self.pairs, torch.stack([true, taken], 1)], [*self.sums, sums.to(true.device)])
        self.pairs, self.sums = [pairs], [sums]

    def compute(self) -> list[ConfusedPair]:
        """Return the pairs over all images so far, the most frequent first."""
        if not len(self.pairs):
            return []
        pairs, sums = _summed(self.pairs, self.sums)
        order = sums[:, 0].argsort(descending=True, stable=True)
        rows = zip(pairs[order].tolist(), sums[order].tolist(), strict=True)
        return [ConfusedPair(true, taken, int(times), total / times) for (true, taken), (times, total) in rows]


def _summed(pairs: Sequence[Tensor] | Tensor, sums: Sequence[Tensor] | Tensor) -> tuple[Tensor, Tensor]:
    """Add up rows of equal pairs; pairs ascend."""
    rows, values = (part if isinstance(part, Tensor) else torch.cat([*part]) for part in (pairs, sums))
    distinct, place = rows.unique(dim=0, return_inverse=True)
    return distinct, values.new_zeros(len(distinct), 2).index_add_(0, place, values)
