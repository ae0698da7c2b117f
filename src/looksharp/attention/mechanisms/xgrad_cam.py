"""XGrad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS
from looksharp.attention.mechanisms.weighting import SPATIAL, safe_ratio, weighted_sum

__all__ = ["xgrad_cam"]


@MECHANISMS.register("xgrad_cam")
def xgrad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute XGrad-CAM: weights sum_ij (F_ij / sum_ab F_ab) g_ij, 0 for a channel that sums to 0.

    Fu et al. 2020, "Axiom-based Grad-CAM", Eq. 8.
    """
    numerator = torch.einsum("bkchw,bchw->bkc", gradients, features)
    return weighted_sum(features, safe_ratio(numerator, features.sum(SPATIAL).unsqueeze(1)))
