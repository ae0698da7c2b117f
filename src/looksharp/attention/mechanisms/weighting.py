"""Sums that mechanisms share."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SPATIAL", "safe_ratio", "weighted_sum"]

SPATIAL = (-2, -1)
"""The dimensions of positions."""


def weighted_sum(features: Tensor, weights: Tensor) -> Tensor:
    """Sum over channels of weights (B, K, C) times features (B, C, h, w) -> (B, K, h, w)."""
    return torch.bmm(weights.to(features.dtype), features.flatten(2)).unflatten(-1, features.shape[-2:])


def safe_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Divide, and return 0 where the denominator is 0; the gradient is finite there too."""
    valid = denominator != 0
    return torch.where(valid, numerator, 0) / torch.where(valid, denominator, 1)
