"""Global weighted rank pooling: between the mean and the maximum of a map."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decay_at", "rank_pooling"]

_POSITIONS = 41 * 41  # of SEC's maps, for which its decays are given


def rank_pooling(maps: Tensor, decay: float) -> Tensor:
    """Average a map's positions, the j-th highest with weight decay^(j - 1).

    Kolesnikov and Lampert 2016, "Seed, Expand and Constrain", Eq. 3: G = 1/Z sum_j d^(j-1) f_(j). With decay 0 it is
    the maximum, with 1 the mean.

    Args:
        maps: (..., h, w).
        decay: d, in [0, 1].

    Returns:
        (...).

    Raises:
        ValueError: if the decay is outside [0, 1].

    Example:
        >>> rank_pooling(torch.tensor([[1.0, 4.0], [2.0, 3.0]]), 0.5)
        tensor(3.2667)

    """
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be 0 to 1; got {decay:g}")
    values = maps.flatten(-2)
    if decay == 0:
        return values.amax(-1)
    if decay == 1:
        return values.mean(-1)
    weights = decay ** torch.arange(values.shape[-1], dtype=maps.dtype, device=maps.device)
    return values.sort(-1, descending=True).values @ weights / weights.sum()


def decay_at(decay: float, positions: int) -> float:
    """Return the decay that weighs the same shares of a map as `decay` does at SEC's 41 x 41 positions."""
    return decay if positions == _POSITIONS else float(decay ** (_POSITIONS / positions))
