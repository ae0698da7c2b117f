"""Functions of torch whose second derivative is as cheap as their first, or exists at all.

Training on attention maps differentiates a gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.batch_norm import batch_norm
from looksharp.attention.convolution import conv2d
from looksharp.attention.replaced import ReplacedFunctions, Replacements

__all__ = ["FastSecondDerivative"]


class FastSecondDerivative(ReplacedFunctions):
    """Compute 2-D convolutions and batch normalisation by functions of this library inside this context.

    Values are the same. The hard sigmoid (MobileNetV3) is computed by its definition, since torch has no second
    derivative of its own. So is the normalisation of vectors (Swin V2), since torch's second derivative at a vector of
    zeros is not a number.

    Args:
        active: asked at every call of these functions; those for which it is False are left alone.

    """

    def __init__(self, active: Callable[[], bool] = lambda: True) -> None:
        def wanted() -> bool:
            return torch.is_grad_enabled() and active() and not torch.compiler.is_compiling()

        replacements: Replacements = {
            F.conv2d: conv2d,
            torch.conv2d: conv2d,
            F.batch_norm: batch_norm,
            F.hardsigmoid: _hardsigmoid,
            F.normalize: _normalize,
        }
        super().__init__(replacements, wanted)


def _hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    output = F.relu6(input + 3) / 6
    return input.copy_(output) if inplace else output


def _normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Tensor | None = None) -> Tensor:
    if p != 2 or out is not None or input.dtype not in (torch.float32, torch.float64):
        return F.normalize(input, p, dim, eps, out)
    return input / input.square().sum(dim, keepdim=True).clamp_min(eps**2).sqrt()
