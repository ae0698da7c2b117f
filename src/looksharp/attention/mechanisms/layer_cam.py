"""LayerCAM."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS

__all__ = ["layer_cam"]


@MECHANISMS.register("layer_cam")
def layer_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute LayerCAM: sum_k ReLU(g^k) F^k, position by position.

    Jiang et al. 2021, "LayerCAM", Eq. 5 and 6.
    """
    return torch.einsum("bkchw,bchw->bkhw", gradients.relu(), features)
