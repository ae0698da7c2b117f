"""Grad-CAM."""

from __future__ import annotations

from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS
from looksharp.attention.mechanisms.weighting import SPATIAL, weighted_sum

__all__ = ["grad_cam"]


@MECHANISMS.register("grad_cam")
def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute Grad-CAM: each weight is the mean of the gradient over positions.

    Selvaraju et al. 2017, "Grad-CAM", Eq. 1 and 2; ICASC Eq. 1; GAIN Eq. 1 and 2.
    """
    return weighted_sum(features, gradients.mean(SPATIAL))
