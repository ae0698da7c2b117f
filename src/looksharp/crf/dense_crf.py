"""Mean-field inference in a fully connected CRF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.crf.kernels import CRFKernels, pair_weights, positions
from looksharp.crf.lattice import build_lattice, lattice_filter

__all__ = ["EXACT_PIXELS", "dense_crf"]

EXACT_PIXELS = 4096
"""Pixels up to which all pairs are computed by default; 67 MB an image."""
_TINY = 1e-20  # added to sums, and the least that is passed on: what underflows is slow

Method = Literal["auto", "exact", "lattice"]
"""Ways to sum over all other pixels; see `dense_crf`."""


def dense_crf(
    scores: Tensor,
    images: Tensor,
    kernels: CRFKernels | None = None,
    *,
    steps: int = 10,
    method: Method = "auto",
) -> Tensor:
    """Sharpen class probabilities by the colours of the image.

    Krähenbühl and Koltun 2011, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials", Alg. 1:
    Q_i(l) = softmax_l(s_i(l) + sum_j k(i, j) Q_j(l)), `steps` times from Q = softmax(s). k is that of `CRFKernels`;
    each kernel is divided by the roots of both its rows' sums, and a Potts model compares labels. The sum includes the
    pixel itself, as in the authors' code. Nothing is differentiated.

    "exact" computes all pairs of pixels. "lattice" approximates the bilateral kernel on the permutohedral lattice, as
    the authors' code does, and at the same places, so that it errs alike; the Gaussian kernel stays exact, row by
    column. On two photographs of 41 x 41 px, whose scores were blurred to eight degrees, its labels were those of the
    authors' code, its probabilities differed from the exact ones by 0.006 on average or less, and 99.1% of the labels
    or more agreed; at 96 x 144 px it was 0.008 and 98.8%. "auto" is exact up to `EXACT_PIXELS`.

    Args:
        scores: (B, C, H, W), logits or log probabilities.
        images: (B, 3, H, W), colours in 0 to 255.
        kernels: weights and widths; the defaults are for photographs at their own size, `scaled` for small ones.
        steps: updates of all pixels.
        method: way to sum over pixels.

    Returns:
        Probabilities (B, C, H, W), float32 or the scores' precision if that is higher.

    Raises:
        ValueError: if shapes do not fit each other, `steps` is negative, or there is no such method.

    Example:
        >>> image = torch.zeros(1, 3, 8, 8)
        >>> image[..., 4:] = 200
        >>> scores = torch.zeros(1, 2, 8, 8)
        >>> scores[0, 0, 0, 0] = scores[0, 1, 0, 7] = 5  # one pixel of each half is known
        >>> dense_crf(scores, image).argmax(1)[0, 5]
        tensor([0, 0, 0, 0, 1, 1, 1, 1])

    """
    size = (scores.shape[-2], scores.shape[-1])
    if scores.ndim != 4 or images.shape != (len(scores), 3, *size):
        raise ValueError(
            f"scores must be (B, C, H, W) and images (B, 3, H, W); got {tuple(scores.shape)}, {tuple(images.shape)}"
        )
    if steps < 0:
        raise ValueError(f"steps must be at least 0; got {steps}")
    if method not in ("auto", "exact", "lattice"):
        raise ValueError(f"method must be auto, exact or lattice; got {method!r}")
    kernels = kernels or CRFKernels()
    with torch.no_grad(), torch.autocast(scores.device.type, enabled=False):
        precise = scores.to(torch.promote_types(scores.dtype, torch.float32))
        unary = precise.flatten(2).transpose(1, 2)  # (B, N, C)
        colours = images.to(precise.dtype)
        if method == "exact" or (method == "auto" and size[0] * size[1] <= EXACT_PIXELS):
            weights = pair_weights(colours, kernels)
            found = _mean_field(unary, weights.__matmul__, steps)
        else:
            each = [
                _mean_field(one, _lattice_messages(image, kernels), steps)
                for one, image in zip(unary, colours, strict=True)
            ]
            found = torch.stack(each) if each else unary
        return found.transpose(1, 2).unflatten(2, size)


def _mean_field(unary: Tensor, messages: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Return probabilities (..., N, C) after so many updates."""
    found = unary.softmax(-1)
    for _ in range(steps):
        found = (unary + messages(found.clamp(min=_TINY))).softmax(-1)
    return found


def _lattice_messages(image: Tensor, kernels: CRFKernels) -> Callable[[Tensor], Tensor]:
    """Return the function that sums k(i, j) Q_j over one image's pixels, (N, C) -> (N, C)."""
    size = (image.shape[-2], image.shape[-1])
    place = positions(size, image.device).to(image.dtype).flip(1)  # columns first: the lattice of the authors' code
    lattice = build_lattice(torch.cat([place / kernels.alpha, image.flatten(1).T / kernels.beta], 1))
    ones = image.new_ones(len(place), 1)
    bilateral = (lattice_filter(lattice, ones) + _TINY).rsqrt()  # (N, 1)
    near = _gaussian_filter(ones, size, kernels.gamma).rsqrt()

    def messages(values: Tensor) -> Tensor:
        similar = lattice_filter(lattice, values * bilateral) * bilateral
        nearby = _gaussian_filter(values * near, size, kernels.gamma) * near
        return kernels.bilateral * similar + kernels.gaussian * nearby

    return messages


def _gaussian_filter(values: Tensor, size: tuple[int, int], width: float) -> Tensor:
    """Return sum_j exp(-|p_i - p_j|² / 2 width²) v_j of values (N, C), whose far ends, below 1e-7, are left out."""
    reach = max(int(width * 5.7), 1)
    places = torch.arange(-reach, reach + 1, dtype=values.dtype, device=values.device)
    kernel = (places / width).square().mul(-0.5).exp()
    channels = values.shape[1]  # each its own group: several times as fast as a batch of single channels
    rows = values.T.unflatten(1, size).unsqueeze(0)  # (1, C, H, W)
    weights = kernel.expand(channels, 1, 1, -1)
    rows = F.conv2d(rows, weights, padding=(0, reach), groups=channels)
    rows = F.conv2d(rows, weights.transpose(2, 3), padding=(reach, 0), groups=channels)
    return rows.flatten(2)[0].T
