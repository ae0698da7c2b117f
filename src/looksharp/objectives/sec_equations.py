"""SEC's three losses as pure functions of probabilities. Each keeps its per-image values."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from looksharp.networks.rank_pooling import rank_pooling

__all__ = ["Decays", "boundary_loss", "expansion_loss", "floored", "seeding_loss"]


class Decays(NamedTuple):
    """Decays of `rank_pooling`: for classes that are present, for the background, for absent classes."""

    present: float = 0.996
    background: float = 0.999
    absent: float = 0.0


def floored(probabilities: Tensor, least: float = 1e-4) -> Tensor:
    """Raise probabilities (B, 1 + C, h, w) by `least` and normalise them, so that no logarithm is infinite.

    As SEC's code does; the paper does not mention it.
    """
    raised = probabilities + least
    return raised / raised.sum(1, keepdim=True)


def seeding_loss(probabilities: Tensor, seeds: Tensor) -> Tensor:
    """Compute the seeding loss: the mean of -log f over the seeds.

    Kolesnikov and Lampert 2016, Eq. 2: L_seed = -1 / sum_c |S_c| sum_c sum_(u in S_c) log f_(u,c).

    Args:
        probabilities: f (B, 1 + C, h, w), above 0.
        seeds: S (B, 1 + C, h, w), 1 at each class's seeds and 0 elsewhere.

    Returns:
        (B,); 0 for an image without seeds.
    """
    total = seeds.sum((1, 2, 3))
    return -(seeds * probabilities.log()).sum((1, 2, 3)) / total.clamp(min=1)


def expansion_loss(probabilities: Tensor, present: Tensor, decays: Decays | None = None) -> Tensor:
    """Compute the expansion loss: present classes cover some of the image, absent ones nothing, background much.

    Kolesnikov and Lampert 2016, Eq. 4: L_expand = -1/|T| sum_(c in T) log G_c(f; d+)
    - 1/|C - T| sum_(c not in T) log(1 - G_c(f; d-)) - log G_bg(f; d_bg), with G as in `rank_pooling`.

    Args:
        probabilities: f (B, 1 + C, h, w), above 0 and below 1, the background first.
        present: T (B, C), True for the image's classes.
        decays: d+, d_bg and d-; SEC's if not given.

    Returns:
        (B,); the mean over no class is 0.
    """
    decays = decays or Decays()
    background, classes = probabilities[:, 0], probabilities[:, 1:]
    found = -rank_pooling(classes, decays.present).log()  # (B, C)
    wrong = -(1 - rank_pooling(classes, decays.absent)).log()
    return (
        _mean_where(found, present) + _mean_where(wrong, ~present) - rank_pooling(background, decays.background).log()
    )


def boundary_loss(probabilities: Tensor, refined: Tensor) -> Tensor:
    """Compute the constrain-to-boundary loss: the divergence of f from what a CRF makes of it.

    Kolesnikov and Lampert 2016, Eq. 5: L_constrain = 1/n sum_u sum_c R_(u,c) log(R_(u,c) / f_(u,c)).

    Args:
        probabilities: f (B, 1 + C, h, w), above 0.
        refined: R (B, 1 + C, h, w), see `dense_crf`; no gradient passes through it here.

    Returns:
        (B,), at least 0.
    """
    refined = refined.detach()
    return (torch.special.xlogy(refined, refined) - refined * probabilities.log()).sum(1).mean((1, 2))


def _mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Average (B, C) values over the chosen ones of each row; 0 where there are none."""
    return torch.where(chosen, values, 0).sum(1) / chosen.sum(1).clamp(min=1)
