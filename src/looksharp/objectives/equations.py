"""The papers' equations as pure functions of maps and scores. Each keeps its per-sample values."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.attention.maps import normalize_maps, resize_maps

__all__ = [
    "Normalize",
    "Overlap",
    "attention_consistency",
    "attention_mining",
    "attention_separation",
    "guidance_energy",
    "guidance_input_gradient",
    "guidance_squared_error",
    "head_diversity",
    "mask_out",
    "separation_and_consistency",
    "soft_threshold",
]

_SPATIAL = (-2, -1)

Overlap = Literal["cosine", "product"]
"""Comparison of two masks in WARN's regulariser; see `head_diversity`."""

Normalize = Literal["none", "mask", "each"]
"""Choice of ICASC's maps to divide by their own maximum; see `separation_and_consistency`."""


def soft_threshold(attention: Tensor, threshold: Tensor | float, omega: float) -> Tensor:
    """Make a soft mask of the positions above a threshold: 1 / (1 + exp(-omega (A - threshold))).

    ICASC Eq. 4 (threshold sigma times the map's maximum) and GAIN Eq. 4 (threshold sigma).

    Args:
        attention: maps (..., h, w). Far below 1 / omega the mask is about one half everywhere and thresholds nothing;
            for maps that reach 1 it spans 0 to 1.
        threshold: sigma, a number or a tensor that broadcasts to the maps.
        omega: steepness.

    Returns:
        Masks (..., h, w) in (0, 1).

    """
    return torch.sigmoid(omega * (attention - threshold))


def attention_separation(true: Tensor, confusing: Tensor, mask: Tensor) -> Tensor:
    """Measure the overlap of the maps of the true and the most confusing class, L_AS.

    ICASC Eq. 3: 2 sum_ij min(A^T_ij, A^Conf_ij) Mask_ij / sum_ij (A^T_ij + A^Conf_ij).

    Args:
        true: A^T >= 0, maps (..., h, w) of the true class.
        confusing: A^Conf >= 0, maps (..., h, w) of the wrong class with the highest score.
        mask: the target region (..., h, w) in [0, 1], Eq. 4.

    Returns:
        (...) in [0, 1]; 0 if both maps are zero everywhere.

    Example:
        >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]])
        >>> attention_separation(a, b, torch.ones(1, 2))
        tensor(0.5000)

    """
    overlap = 2 * (torch.minimum(true, confusing) * mask).sum(_SPATIAL)
    return _share(overlap, (true + confusing).sum(_SPATIAL))


def attention_consistency(inner: Tensor, mask: Tensor, theta: float = 0.8) -> Tensor:
    """Measure how far an inner layer's attention lies outside the last layer's target region, L_AC.

    ICASC Eq. 5: theta - sum_ij A^in_ij Mask_ij / sum_ij A^in_ij.

    Args:
        inner: A^in >= 0, maps (..., h, w) of the true class at an inner layer.
        mask: the target region (..., h, w) in [0, 1], resized to the inner layer.
        theta: constant offset; 0.8 in the paper.

    Returns:
        (...) in [theta - 1, theta]; theta for a map that is zero everywhere.

    """
    return theta - _share((inner * mask).sum(_SPATIAL), inner.sum(_SPATIAL))


def separation_and_consistency(
    inner: Tensor,
    last: Tensor,
    *,
    sigma: float = 0.55,
    omega: float = 100.0,
    theta: float = 0.8,
    detach_mask: bool = False,
    normalize: Normalize = "each",
) -> dict[str, Tensor]:
    """Compute ICASC's attention terms, of T true classes against the most confusing one.

    ICASC Eq. 3 to 5. One mask, from the last layer's map of the true class, resized bilinearly for the inner layer,
    serves all.

    Eq. 3 is about raw maps: the weaker the confusing class's map, the smaller the overlap. Dividing each map by its
    own maximum loses the strength of the evidence and keeps only its place: a confusing map a thousand times weaker
    gives the same L_AS. Raw maps of an untrained network lie far below 1 / omega, so that Eq. 4 is one
    half everywhere; their peaks grow within a few epochs, and with them the mask spans 0 to 1.

    Args:
        inner: raw maps >= 0, (B, T + 1, h, w), at the inner layer, that of the most confusing class last.
        last: raw maps >= 0, (B, T + 1, h', w'), at the last layer.
        sigma: the mask's threshold as a share of the map's maximum.
        omega: the mask's steepness.
        theta: offset of L_AC.
        detach_mask: stop the gradient through the mask.
        normalize: maps to divide by their own maximum: "none", as in the paper; "mask", the map that Eq. 4 turns into
            the mask, so that it thresholds at any strength; or "each" map.

    Returns:
        "separation_inner" and "separation_last" in [0, 1], "consistency" in [theta - 1, theta], each (B, T).
    """
    if normalize == "each":
        inner, last = normalize_maps(inner), normalize_maps(last)
    true = last[:, :-1]
    region = normalize_maps(true) if normalize == "mask" else true
    mask = soft_threshold(region, sigma * region.amax(_SPATIAL, keepdim=True), omega)
    if detach_mask:
        mask = mask.detach()
    inner_mask = resize_maps(mask, (inner.shape[-2], inner.shape[-1]))
    return {
        "separation_inner": attention_separation(inner[:, :-1], inner[:, -1:], inner_mask),
        "separation_last": attention_separation(true, last[:, -1:], mask),
        "consistency": attention_consistency(inner[:, :-1], inner_mask, theta),
    }


def mask_out(images: Tensor, mask: Tensor, fill: float | Tensor = 0.0) -> Tensor:
    """Remove the masked region from images: I - T(A) * (I - fill).

    GAIN Eq. 3, there with a fill of 0.

    Args:
        images: (P, C, H, W), normalised.
        mask: T(A), (P, H, W) in [0, 1], Eq. 4.
        fill: colour of the removed region, normalised; 0 is the data set's mean colour.

    Returns:
        (P, C, H, W); the image where the mask is 0, the fill where it is 1.
    """
    return images - mask.unsqueeze(1) * (images - fill)


def attention_mining(logits: Tensor, classes: Tensor, *, multilabel: bool) -> Tensor:
    """Read a class's remaining probability once its attention is masked out of the image, L_am.

    GAIN Eq. 5; the paper's "prediction score" is read as the probability.

    Args:
        logits: (P, C) for the masked images.
        classes: (P,) the class whose attention was masked out.
        multilabel: sigmoid probabilities instead of softmax.

    Returns:
        (P,) in [0, 1].
    """
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))  # autocast does not see to all of these
    probabilities = scores.sigmoid() if multilabel else scores.softmax(1)
    return probabilities.gather(1, classes.unsqueeze(1)).squeeze(1)


def guidance_squared_error(attention: Tensor, mask: Tensor) -> Tensor:
    """Compute the mean squared difference of map and mask, L_e.

    GAIN Eq. 7, as a mean over positions.

    Args:
        attention: A^c in [0, 1], (G, h, w): maps divided by their own maximum.
        mask: H^c in [0, 1], (G, h, w).

    Returns:
        (G,) in [0, 1]; 0 exactly if the map is the mask.
    """
    return (attention - mask).square().mean(_SPATIAL)


def guidance_energy(attention: Tensor, mask: Tensor) -> Tensor:
    """Compute the share of the map's mass outside the mask: 1 - sum_ij |A_ij| H_ij / sum_ij |A_ij|.

    The complement of the energy-based pointing game (Wang et al. 2020, "Score-CAM", Sec. 4.2). For maps
    before their ReLU it weighs evidence for and against alike.

    Args:
        attention: maps (G, h, w), signed or not.
        mask: (G, h, w) in [0, 1].

    Returns:
        (G,) in [0, 1]: 0 for a map wholly inside, 1 wholly outside; 0 for a map that is zero everywhere.
    """
    magnitude = attention.abs()
    return _share((magnitude * (1 - mask)).sum(_SPATIAL), magnitude.sum(_SPATIAL))


def guidance_input_gradient(gradient: Tensor, mask: Tensor) -> Tensor:
    """Compute the squared input gradient outside the mask: sum_chw ((1 - H_hw) g_chw)^2.

    Ross et al. 2017, "Right for the Right Reasons", Eq. 1, second term; g is the gradient of the summed log
    probabilities with respect to the image.

    Args:
        gradient: (G, C, H, W).
        mask: (G, H, W) in [0, 1].

    Returns:
        (G,) >= 0.
    """
    return ((1 - mask).unsqueeze(1) * gradient).square().flatten(1).sum(1)


def head_diversity(masks: Tensor, overlap: Overlap = "cosine") -> Tensor:
    """Measure how much the masks of an attention module's heads overlap: the squared off-diagonal of H H^T.

    WARN Sec. 3.2 names the regulariser of Zhao et al. 2017, "Diversified Visual Attention Networks", without an
    equation. "cosine" is this library's choice: each mask is first divided by its length, so that two heads' entry of
    H H^T is the cosine between their masks, 0 if they share no position and 1 for equal masks alone. "product" is the
    authors' code: masks as they are, averaged over 2x2 positions, and a mean that counts the diagonal's zeros. There
    two equal masks that are spread out have a smaller product than two different masks that are peaked, so that
    spreading lowers it as well.

    Args:
        masks: H >= 0, (B, K, h, w).
        overlap: "cosine" or "product", as above.

    Returns:
        (B,), a mean over pairs of heads; in [0, 1] for "cosine". 0 for one head.

    Example:
        >>> head_diversity(torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]], [[[0.0, 0.7]], [[0.0, 0.7]]]]))
        tensor([0., 1.])

    """
    heads = masks.shape[1]
    if overlap == "product":
        masks = F.avg_pool2d(masks, (min(2, masks.shape[2]), min(2, masks.shape[3])))
        pairs = heads**2
    else:
        masks = masks / masks.norm(dim=_SPATIAL, keepdim=True).clamp(min=torch.finfo(masks.dtype).tiny)
        pairs = max(heads * (heads - 1), 1)
    flat = masks.flatten(2)  # (B, K, hw)
    products = flat @ flat.transpose(1, 2)  # (B, K, K)
    others = 1 - torch.eye(heads, dtype=masks.dtype, device=masks.device)
    return (products * others).square().sum((1, 2)) / pairs


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """Divide part by whole, and return 0 with a zero gradient where the whole is 0."""
    return torch.where(whole > 0, part, 0) / torch.where(whole > 0, whole, 1)
