"""Segmentations of whole images, with and without a CRF."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.finite import check_finite
from looksharp.attention.recording import look, unwrapped
from looksharp.crf import CRFKernels, dense_crf
from looksharp.networks.large_fov import LargeFOV, background_and_classes

__all__ = ["dense_odds", "odds_at_size", "refined", "scores_layer"]

_LEAST = 1e-5  # of a probability that a CRF reads, as in SEC's code
_SIDE = 500  # of VOC's photographs, for which the CRF's kernels are made
_KEPT = 0.01


def scores_layer(model: nn.Module) -> str | None:
    """Return the layer of a network's dense scores; None if it scores no positions."""
    for name, module in unwrapped(model).named_modules():
        if isinstance(module, LargeFOV):
            return f"{name}.scores".lstrip(".")
    return None


def dense_odds(model: nn.Module, images: Tensor) -> Tensor:
    """Return a segmentation network's probabilities (B, 1 + C, h, w), the background first.

    Raises:
        ValueError: if the network scores no positions, or its scores are not finite.
    """
    layer = scores_layer(model)
    if layer is None:
        raise ValueError(
            f"masks need a network that scores every position, such as --architecture large_fov makes; "
            f"got {type(unwrapped(model)).__name__}"
        )
    _, features = look(model, images, [layer])
    odds = background_and_classes(features[layer].detach())
    check_finite(odds, "the network's scores")
    return odds


def odds_at_size(odds: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize probabilities (1 + C, h, w) of an image to its own size, bilinearly."""
    return F.interpolate(odds[None], size, mode="bilinear", align_corners=False)[0]


def refined(odds: Tensor, image: Tensor) -> Tensor:
    """Sharpen the probabilities of one image by a dense CRF, at the image's size.

    SEC's inference: kernels are as wide as for photographs of 500 px, and the same share of other images. Classes whose
    probability is below 1% everywhere are left out.

    Args:
        odds: (1 + C, H, W).
        image: (3, H, W) of bytes.

    Returns:
        (1 + C, H, W), 0 for classes that are left out.
    """
    kept = (odds.amax((1, 2)) >= _KEPT).nonzero().flatten()
    kernels = CRFKernels().scaled(_SIDE / max(image.shape[-2:]))
    scores = odds[kept].clamp(min=_LEAST).log()
    found = torch.zeros_like(odds)
    found[kept] = dense_crf(scores[None], image[None].to(odds), kernels)[0].to(odds.dtype)
    return found
