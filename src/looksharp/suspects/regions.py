"""Find the pixels of an image that carry the evidence for its class."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.attention.input_gradients import input_gradients
from looksharp.attention.rerun import chunks

__all__ = ["find_regions", "pixel_evidence"]

_POINTS = 4  # on the line from the mean colour to the image
_WINDOW = 3 / 16  # of the image's shorter side
_LEVEL = 0.5  # of the largest evidence


def find_regions(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Find the region of evidence of one class in every image: where `pixel_evidence` is above half its maximum.

    Costs four forwards and four backwards an image, about 12 forwards. No layer is read, so that the region lies in the
    image's own pixels even where every position of a map has seen all of them. Measured on a planted patch; see
    docs/results.md, "Regions of evidence".

    Args:
        model: a classifier in evaluation mode.
        images: (B, 3, H, W), normalised as the model expects.
        classes: (B,) the class whose evidence is looked for.

    Returns:
        (B, H, W) boolean; empty where an image has no evidence for the class.

    Raises:
        ValueError: if the model is in training mode.

    Example:
        >>> from looksharp.networks import SmallNet
        >>> find_regions(SmallNet(10, width=8).eval(), torch.rand(2, 3, 32, 32), torch.tensor([3, 8])).shape
        torch.Size([2, 32, 32])

    """
    evidence = pixel_evidence(model, images, classes)
    peak = evidence.amax((-2, -1), keepdim=True)
    return (evidence > _LEVEL * peak) & (peak > 0)


def pixel_evidence(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Share out the class's score among windows of pixels.

    Integrated Gradients (Sundararajan et al. 2017, Eq. 1) by the midpoint rule with 4 points, from an image of the
    image's own mean colour. What speaks for the class is averaged over windows of 3/16 of the shorter side: single
    pixels are noisy, and of a patch of one colour the gradient marks a part.

    Args:
        model: a classifier in evaluation mode.
        images: (B, 3, H, W).
        classes: (B,).

    Returns:
        (B, H, W), not below 0.
    """
    found = [_integrated(model, images[part], classes[part]) for part in chunks(len(images), images)]
    side = round(_WINDOW * min(images.shape[-2:])) // 2 * 2 + 1
    return F.avg_pool2d(torch.cat(found).relu(), side, 1, side // 2, count_include_pad=False)


def _integrated(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    plain = images.mean((-2, -1), keepdim=True)
    change, total = images - plain, torch.zeros_like(images)
    for point in range(_POINTS):
        between = plain + (point + 0.5) / _POINTS * change
        total += input_gradients(model, between, classes[:, None])[:, 0] / _POINTS
    return (total * change).sum(1)
