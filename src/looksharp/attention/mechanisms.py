"""Attention mechanisms: pure functions from feature maps and their gradients to class maps.

A mechanism takes `features` (B, C, h, w) and `gradients` (B, K, C, h, w), the derivative of each of K class
scores (logits, never probabilities) with respect to the features, and returns the map *before* its last ReLU,
(B, K, h, w): evidence for the class where positive, against it where negative. `attention_maps` applies the
ReLU that every one of the papers ends in. To add a mechanism, write one function and register it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Annotated

import torch
from pydantic import AfterValidator
from torch import Tensor

__all__ = [
    "MECHANISMS",
    "Mechanism",
    "MechanismChoice",
    "cam",
    "channel_weighted",
    "find_mechanism",
    "grad_cam",
    "grad_cam_pp",
    "hires_cam",
    "layer_cam",
    "xgrad_cam",
]

Mechanism = Callable[[Tensor, Tensor], Tensor]

_SPATIAL = (-2, -1)


def _weighted(features: Tensor, weights: Tensor) -> Tensor:
    """Sum over channels of weights (B, K, C) times features (B, C, h, w) -> (B, K, h, w)."""
    return torch.bmm(weights.to(features.dtype), features.flatten(2)).unflatten(-1, features.shape[-2:])


def _safe_ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Numerator / denominator, and 0 where the denominator is 0; its gradient is finite there too."""
    valid = denominator != 0
    return torch.where(valid, numerator, 0) / torch.where(valid, denominator, 1)


def cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Class activation map: M_c = sum_k w_k^c F^k, with w the weights of a linear layer over the pooled map.

    Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", Eq. 2. With average pooling
    the classifier's weight is the sum of the gradient over positions; `attention_maps` refuses this mechanism
    for any other head and layer.
    """
    return _weighted(features, gradients.sum(_SPATIAL))


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM: weights are the mean of the gradient over positions.

    Selvaraju et al. 2017, "Grad-CAM", Eq. 1 and 2; ICASC Eq. 1; GAIN Eq. 1 and 2.
    """
    return _weighted(features, gradients.mean(_SPATIAL))


def grad_cam_pp(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM++: weights sum_ij alpha_ij ReLU(g_ij), alpha_ij = g_ij^2 / (2 g_ij^2 + g_ij^3 sum_ab F_ab).

    Chattopadhyay et al. 2018, "Grad-CAM++", Eq. 5 to 7 and 19, with the closed form for a score passed through
    an exponential; g is the gradient of the logit. alpha is 0 where g is 0, or the denominator.
    """
    # Numerator and denominator divided by g^2, so that small gradients do not underflow.
    total = features.sum(_SPATIAL, keepdim=True).unsqueeze(1)  # (B, 1, C, 1, 1)
    alpha = _safe_ratio(torch.ones_like(gradients), 2 + gradients * total)
    return _weighted(features, (alpha * gradients.relu()).sum(_SPATIAL))


def channel_weighted(features: Tensor, gradients: Tensor) -> Tensor:
    """Channel-weighted attention A_ch: weights are the sum of the positive gradients, the map is divided by Z.

    ICASC Eq. 2: A_ch = 1/Z ReLU(sum_k (sum_ij ReLU(dY^c/dF_ij^k)) F^k), Z the number of positions.
    """
    positions = features.shape[-2] * features.shape[-1]
    return _weighted(features, gradients.relu().sum(_SPATIAL) / positions)


def xgrad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """XGrad-CAM: weights sum_ij (F_ij / sum_ab F_ab) g_ij, 0 for a channel that sums to 0.

    Fu et al. 2020, "Axiom-based Grad-CAM", Eq. 8.
    """
    numerator = torch.einsum("bkchw,bchw->bkc", gradients, features)
    return _weighted(features, _safe_ratio(numerator, features.sum(_SPATIAL).unsqueeze(1)))


def hires_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM: sum_k g^k F^k, position by position.

    Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM", Eq. 6.
    """
    return torch.einsum("bkchw,bchw->bkhw", gradients, features)


def layer_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """LayerCAM: sum_k ReLU(g^k) F^k, position by position.

    Jiang et al. 2021, "LayerCAM", Eq. 5 and 6.
    """
    return hires_cam(features, gradients.relu())


MECHANISMS: dict[str, Mechanism] = {
    function.__name__: function
    for function in (cam, grad_cam, grad_cam_pp, channel_weighted, xgrad_cam, hires_cam, layer_cam)
}
"""Every mechanism by name; the contract tests and the command line read this."""


def _known(mechanism: str | Mechanism) -> str | Mechanism:
    find_mechanism(mechanism)
    return mechanism


MechanismChoice = Annotated[str | Mechanism, AfterValidator(_known)]
"""A mechanism as a setting: a name in `MECHANISMS`, or a function."""


def find_mechanism(mechanism: str | Mechanism) -> Mechanism:
    """The mechanism of that name, or the function itself.

    Raises:
        ValueError: if no mechanism has that name.

    """
    if callable(mechanism):
        return mechanism
    if mechanism not in MECHANISMS:
        close = difflib.get_close_matches(mechanism, MECHANISMS, n=1)
        raise ValueError(
            f"mechanism {mechanism!r} is not known; "
            + (f"did you mean {close[0]!r}? " if close else "")
            + f"there are {', '.join(MECHANISMS)}"
        )
    return MECHANISMS[mechanism]
