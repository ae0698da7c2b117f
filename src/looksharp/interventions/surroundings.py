"""Pictures of an object in other surroundings, without any, or gone from its own: pure functions of tensors."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["exchange_surroundings", "feather", "fill_holes", "object_only", "surroundings_only"]

_EDGE = 1 / 48  # of the image's shorter side: how far around a mask its edge fades


def feather(masks: Tensor, edge: int | None = None) -> Tensor:
    """Grow masks (N, H, W) by `edge` pixels that fade from 1 to 0; what the masks cover stays covered whole.

    Args:
        masks: in [0, 1].
        edge: in pixels; a forty-eighth of the shorter side, at least 1, if not given. 0 leaves masks as they are.

    Returns:
        (N, H, W) in [0, 1].

    Example:
        >>> feather(torch.tensor([[[0.0, 0, 0, 1, 0, 0, 0]]]), 1)
        tensor([[[0.0000, 0.0000, 0.5000, 1.0000, 0.5000, 0.0000, 0.0000]]])

    """
    if edge is None:
        edge = max(round(_EDGE * min(masks.shape[-2:])), 1)
    if edge == 0:
        return masks
    soft = masks.unsqueeze(1)
    covered = soft
    for step in range(1, edge + 1):  # a ring a pixel wide each
        covered = F.max_pool2d(covered, 3, 1, 1)
        soft = torch.maximum(soft, covered * (1 - step / (edge + 1)))
    return soft.squeeze(1)


def fill_holes(images: Tensor, holes: Tensor) -> Tensor:
    """Replace what lies under the holes by a smooth continuation of what lies around them.

    Gortler et al. 1996, "The Lumigraph", Sec. 3.4.3 (pull-push): known colours are averaged at ever coarser
    resolution, and each hole takes its colour from the finest resolution that has one.

    Args:
        images: (N, C, H, W).
        holes: (N, H, W) in [0, 1], 1 where pixels are missing.

    Returns:
        (N, C, H, W), equal to the images where `holes` is 0; zero throughout where all of an image is a hole.
    """
    known = (1 - holes).unsqueeze(1)
    return _continue(images * known, known)


def _continue(colours: Tensor, known: Tensor) -> Tensor:
    """Fill in colours (N, C, h, w) that are already multiplied with how far they are known (N, 1, h, w)."""
    height, width = colours.shape[-2:]
    if height == width == 1:
        return colours / torch.where(known > 0, known, 1)
    # Cells at an odd border average the pixels that they have.
    halve = partial(F.avg_pool2d, kernel_size=(min(2, height), min(2, width)), ceil_mode=True, count_include_pad=False)
    coarse = _continue(halve(colours), halve(known))
    # By 2 and then cut: stretched to an odd size, coarse colours would not lie where they came from.
    finer = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)[..., :height, :width]
    return colours + (1 - known) * finer


def exchange_surroundings(images: Tensor, masks: Tensor, others: Tensor, other_masks: Tensor | None = None) -> Tensor:
    """Put each image's object into another image's surroundings, from which that one's own object is removed.

    After Xiao et al. 2021, "Noise or Signal: The Role of Image Backgrounds in Object Recognition" (Mixed-Same,
    Mixed-Next), who tile the surroundings; here the hole is filled smoothly.

    Args:
        images: (N, C, H, W).
        masks: (N, H, W) in [0, 1], 1 on the object; a box is a mask too. The edge is feathered here.
        others: (N, C, H, W), the images that lend their surroundings.
        other_masks: (N, H, W), the objects in them; None if there are none.

    Returns:
        (N, C, H, W).
    """
    surroundings = others if other_masks is None else surroundings_only(others, other_masks)
    over = feather(masks).unsqueeze(1)
    return over * images + (1 - over) * surroundings


def surroundings_only(images: Tensor, masks: Tensor) -> Tensor:
    """Remove objects from images (N, C, H, W): masks (N, H, W), grown a little, are filled from around them.

    The filling is smooth, so in textured surroundings an object's outline may still show.
    """
    return fill_holes(images, feather(masks).gt(0).to(images.dtype))


def object_only(images: Tensor, masks: Tensor, fill: float | Tensor = 0.0) -> Tensor:
    """Return images (N, C, H, W) with `fill` in place of all but the object.

    Args:
        images: normalised, so that a fill of 0 is the data set's mean colour.
        masks: (N, H, W) in [0, 1]; the edge is feathered here.
        fill: a number, or a tensor that broadcasts to the images.
    """
    over = feather(masks).unsqueeze(1)
    return over * images + (1 - over) * fill
