"""WARN's attention module: heads that look at a feature map, each with a hypothesis about the class."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AttentionModule", "HeadGate", "SpatialMask"]

_KERNEL = 3


class SpatialMask(nn.Module):
    """Turn scores (B, K, h, w) into masks (B, K, h, w): a softmax over positions, or a sigmoid at each.

    WARN Eq. 1. float32 at least, even under autocast.
    """

    def __init__(self, attention: Literal["softmax", "sigmoid"]) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, scores: Tensor) -> Tensor:
        """Return masks in [0, 1]; those of a softmax sum to 1."""
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        if self.attention == "sigmoid":
            return scores.sigmoid()
        return scores.flatten(2).softmax(2).unflatten(2, scores.shape[2:])


class HeadGate(nn.Module):
    """Turn the heads' scores (B, K, 1, 1) into gates (B, K, 1, 1) that sum to 1; WARN Eq. 5."""

    def forward(self, scores: Tensor) -> Tensor:
        """Return softmax(tanh(scores)) over the heads."""
        return scores.tanh().softmax(1)


class AttentionModule(nn.Module):
    """K attention heads on a feature map, whose gated hypotheses are one vector of class scores.

    Rodríguez et al., Attend and Rectify, 2018 (arXiv 1807.07320), Eq. 1 to 5, with Z the feature map and * a 3x3
    convolution without bias, as in the authors' code (the paper gives no size):

        H = spatial_softmax(W_H * Z)                    masks (B, K, h, w), the output of `mask`
        o_k = sum_xy H_k (W_O,k * Z)                    hypotheses (B, K, classes)
        g = softmax(tanh(sum_xy H (W_g * Z)))           head gates (B, K, 1, 1), the output of `gate`
        o = sum_k g_k o_k                               (B, classes)

    Convolution and masked sum are both linear and run in the opposite order: each head's masked sum comes first, over
    the 3x3 neighbourhood of every position, and W_O and W_g are applied to that sum. The result is the same at
    1 / classes of the cost, without a map of K * classes channels.

    The sums over positions are averages, as the text beside Eq. 3 and 5 says: softmax masks sum to 1, and sums under
    sigmoid masks are divided by the number of positions. Weights are initialised as by He et al. (2015).

    Args:
        in_channels: channels of the feature map.
        classes: number of classes.
        heads: K, the paper's attention width AW.
        attention: make masks by a softmax over positions, or by sigmoids.

    Example:
        >>> AttentionModule(8, classes=5)(torch.rand(2, 8, 7, 7)).shape
        torch.Size([2, 5])

    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        heads: int = 4,
        attention: Literal["softmax", "sigmoid"] = "softmax",
    ) -> None:
        super().__init__()
        self.attend = nn.Conv2d(in_channels, heads, _KERNEL, padding=_KERNEL // 2, bias=False)  # W_H
        nn.init.kaiming_normal_(self.attend.weight, nonlinearity="relu")
        # W_O of each head, and its W_g as one more class.
        self.hypothesis = nn.Parameter(torch.empty(heads, classes + 1, in_channels, _KERNEL, _KERNEL))
        nn.init.normal_(self.hypothesis, std=math.sqrt(2 / (in_channels * _KERNEL**2)))
        self.mask = SpatialMask(attention)
        self.gate = HeadGate()

    def forward(self, features: Tensor) -> Tensor:
        """Return class scores (B, classes), float32 at least, for features (B, in_channels, h, w)."""
        mask = self.mask(self.attend(features))  # (B, K, h, w)
        with _full_precision(features.device.type):
            attended = _attended(features.to(mask.dtype), mask)  # (B, C, K, 9)
            weight = self.hypothesis.flatten(3).to(mask.dtype)  # (K, classes + 1, C, 9)
            found = torch.einsum("bckp,kocp->bko", attended, weight)  # (B, K, classes + 1)
            if self.mask.attention == "sigmoid":
                found = found / (mask.shape[-2] * mask.shape[-1])
            hypotheses, scores = found[..., :-1], found[..., -1]
            gates = self.gate(scores[..., None, None]).flatten(1)  # (B, K)
            return torch.einsum("bk,bko->bo", gates, hypotheses)


def _full_precision(device: str) -> AbstractContextManager[object]:
    """Disable autocast, which would bring sums over positions back to half precision; meta tensors know none."""
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _attended(features: Tensor, mask: Tensor) -> Tensor:
    """Sum over positions of mask and 3x3 neighbourhood, zero beyond the border: (B, C, K, 9)."""
    height, width = mask.shape[-2:]
    padded = F.pad(mask, (_KERNEL // 2,) * 4)
    # A mask moved one way reads what its neighbour on the other side shows.
    last = _KERNEL - 1
    moved = [
        padded[..., last - row : last - row + height, last - column : last - column + width]
        for row in range(_KERNEL)
        for column in range(_KERNEL)
    ]
    masks = torch.stack(moved, 2).flatten(3).flatten(1, 2)  # (B, K * 9, hw)
    return (features.flatten(2) @ masks.transpose(1, 2)).unflatten(2, (mask.shape[1], -1))
