"""Grad-CAM++."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS
from looksharp.attention.mechanisms.weighting import SPATIAL, safe_ratio, weighted_sum

__all__ = ["grad_cam_pp"]


@MECHANISMS.register("grad_cam_pp")
def grad_cam_pp(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute Grad-CAM++: weights sum_ij alpha_ij ReLU(g_ij), alpha_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum_ab F_ab).

    Chattopadhyay et al. 2018, "Grad-CAM++", Eq. 5 to 7 and 19, with the closed form for a score passed through
    an exponential; g is the gradient of the logit. alpha is 0 where g is 0, or the denominator.
    """
    # Numerator and denominator divided by g^2, so that small gradients do not underflow.
    total = features.sum(SPATIAL, keepdim=True).unsqueeze(1)  # (B, 1, C, 1, 1)
    alpha = safe_ratio(torch.ones_like(gradients), 2 + gradients * total)
    return weighted_sum(features, (alpha * gradients.relu()).sum(SPATIAL))
