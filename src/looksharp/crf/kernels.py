"""The two kernels of a dense CRF, and their exact values for all pairs of pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["CRFKernels", "normalized_pairs", "pair_weights", "positions"]

_LEAST = -60.0  # exponents below are cut: what underflows is slow to multiply


@dataclass(frozen=True)
class CRFKernels:
    """Weights and widths of the kernels: Krähenbühl and Koltun 2011, Eq. 3.

    k(i, j) = w1 exp(-|p_i - p_j|² / 2 alpha² - |I_i - I_j|² / 2 beta²) + w2 exp(-|p_i - p_j|² / 2 gamma²), with
    positions p in pixels and colours I in 0 to 255. The defaults are those of SEC's code for whole photographs.

    Attributes:
        bilateral: w1, weight of the kernel of nearby pixels of similar colour.
        alpha: its width in pixels.
        beta: its width in levels of colour, of 255.
        gaussian: w2, weight of the kernel of nearby pixels.
        gamma: its width in pixels.

    Raises:
        ValueError: if a width is not above 0, or a weight is negative.
    """

    bilateral: float = 10.0
    alpha: float = 80.0
    beta: float = 13.0
    gaussian: float = 3.0
    gamma: float = 3.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0; got {getattr(self, name):g}")
        for name in ("bilateral", "gaussian"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0; got {getattr(self, name):g}")

    def scaled(self, factor: float) -> CRFKernels:
        """Return the kernels for an image made smaller: both widths in pixels are divided by `factor`.

        SEC takes 12 at 41 x 41.
        """
        return replace(self, alpha=self.alpha / factor, gamma=self.gamma / factor)


def positions(size: tuple[int, int], device: torch.device) -> Tensor:
    """Return the row and column of each pixel, (H * W, 2)."""
    rows, columns = (torch.arange(length, dtype=torch.float32, device=device) for length in size)
    return torch.cartesian_prod(rows, columns)


def normalized_pairs(features: Tensor) -> Tensor:
    """Return exp(-|f_i - f_j|² / 2) of all pairs, divided by the roots of both its rows' sums.

    Args:
        features: (..., N, D).

    Returns:
        (..., N, N), each pixel's own pair included, as in the authors' code.
    """
    halves, ones = features.square().sum(-1, keepdim=True) / -2, torch.ones_like(features[..., :1])
    left, right = torch.cat([features, halves, ones], -1), torch.cat([features, ones, halves], -1)
    pairs = (left @ right.transpose(-1, -2)).clamp_(_LEAST, 0).exp_()  # -|f_i - f_j|² / 2 = f_i f_j - |f_i|²/2 - ...
    norms = pairs.sum(-1).rsqrt()
    return pairs.mul_(norms.unsqueeze(-1)).mul_(norms.unsqueeze(-2))


def pair_weights(images: Tensor, kernels: CRFKernels) -> Tensor:
    """Return the weights of all pairs of pixels, both kernels added.

    Args:
        images: (B, 3, H, W), colours in 0 to 255.
        kernels: weights and widths.

    Returns:
        (B, N, N) with N = H * W.
    """
    place = positions((images.shape[-2], images.shape[-1]), images.device).to(images.dtype)
    colours = images.flatten(2).transpose(1, 2)  # (B, N, 3)
    both = torch.cat([(place / kernels.alpha).expand(len(images), -1, -1), colours / kernels.beta], 2)
    both = both - both.mean(1, keepdim=True)  # distances are then differences of small numbers
    weights = normalized_pairs(both).mul_(kernels.bilateral)
    return weights.add_(normalized_pairs(place / kernels.gamma), alpha=kernels.gaussian)
