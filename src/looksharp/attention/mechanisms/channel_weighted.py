"""Channel-weighted attention, ICASC's A_ch."""

from __future__ import annotations

from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS
from looksharp.attention.mechanisms.weighting import SPATIAL, weighted_sum

__all__ = ["channel_weighted"]


@MECHANISMS.register("channel_weighted")
def channel_weighted(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute ICASC's channel-weighted attention A_ch: each weight is the sum of the positive gradients.

    ICASC Eq. 2: A_ch = 1/Z ReLU(sum_k (sum_ij ReLU(dY^c/dF_ij^k)) F^k), Z the number of positions.
    """
    positions = features.shape[-2] * features.shape[-1]
    return weighted_sum(features, gradients.relu().sum(SPATIAL) / positions)
