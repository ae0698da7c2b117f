"""The papers' equations as pure functions of maps and scores. Each keeps its per-sample values."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["attention_consistency", "attention_separation", "soft_threshold"]

_SPATIAL = (-2, -1)


def soft_threshold(attention: Tensor, threshold: Tensor | float, omega: float) -> Tensor:
    """Soft mask of the positions above a threshold: 1 / (1 + exp(-omega (A - threshold))).

    ICASC Eq. 4 (threshold sigma times the map's maximum) and GAIN Eq. 4 (threshold sigma).

    Args:
        attention: maps (..., h, w). The mask only thresholds if maps lie in [0, 1]; normalise them first.
        threshold: sigma, a number or a tensor that broadcasts to the maps.
        omega: steepness.

    Returns:
        Masks (..., h, w) in (0, 1).

    """
    return torch.sigmoid(omega * (attention - threshold))


def attention_separation(true: Tensor, confusing: Tensor, mask: Tensor) -> Tensor:
    """Overlap of the maps of the true and the most confusing class, L_AS.

    ICASC Eq. 3: 2 sum_ij min(A^T_ij, A^Conf_ij) Mask_ij / sum_ij (A^T_ij + A^Conf_ij).

    Args:
        true: A^T >= 0, maps (..., h, w) of the true class.
        confusing: A^Conf >= 0, maps (..., h, w) of the wrong class with the highest score.
        mask: the target region (..., h, w) in [0, 1], Eq. 4.

    Returns:
        (...) in [0, 1]; 0 if both maps are zero everywhere.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
        >>> attention_separation(a, b, torch.ones(1, 2))
        tensor(0.5000)

    """
    overlap = 2 * (torch.minimum(true, confusing) * mask).sum(_SPATIAL)
    return _share(overlap, (true + confusing).sum(_SPATIAL))


def attention_consistency(inner: Tensor, mask: Tensor, theta: float = 0.8) -> Tensor:
    """How far an inner layer's attention lies outside the last layer's target region, L_AC.

    ICASC Eq. 5: theta - sum_ij A^in_ij Mask_ij / sum_ij A^in_ij.

    Args:
        inner: A^in >= 0, maps (..., h, w) of the true class at an inner layer.
        mask: the target region (..., h, w) in [0, 1], resized to the inner layer.
        theta: constant offset; 0.8 in the paper.

    Returns:
        (...) in [theta - 1, theta]; theta for a map that is zero everywhere.

    """
    return theta - _share((inner * mask).sum(_SPATIAL), inner.sum(_SPATIAL))


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Part / whole, and 0 with a zero gradient where the whole is 0."""
    return part / torch.where(whole > 0, whole, 1)
