"""HiResCAM."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS

__all__ = ["hires_cam"]


@MECHANISMS.register("hires_cam")
def hires_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute HiResCAM: sum_k g^k F^k, position by position.

    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM", Eq. 6.
    """
    return torch.einsum("bkchw,bchw->bkhw", gradients, features)
