"""Class activation maps, CAM."""

from __future__ import annotations

from torch import Tensor

from looksharp.attention.mechanisms.base import MECHANISMS
from looksharp.attention.mechanisms.weighting import SPATIAL, weighted_sum

__all__ = ["cam"]


@MECHANISMS.register("cam")
def cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Compute the class activation map M_c = sum_k w_k^c F^k, with w the weights of a linear layer on the pooled map.

    Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", Eq. 2. With average pooling
    the classifier's weight is the sum of the gradient over positions; `attention_maps` refuses this mechanism
    for any other head and layer.
    """
    return weighted_sum(features, gradients.sum(SPATIAL))
