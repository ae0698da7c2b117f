"""Test whether a map finds a cue that is known to decide the answer."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.localisation import attention_inside
from looksharp.metrics.scores import region, with_objects

__all__ = ["cue_chance", "cue_covered", "cue_energy", "cue_found", "cue_scores"]


def cue_found(maps: Tensor, cues: Tensor) -> Tensor:
    """Test whether the position where a map is highest touches the cue; a map that is zero everywhere misses.

    At the map's own resolution, since a map cannot be more exact than its positions: for a map of pixels it is
    `pointing_game`. Where several positions share the maximum, the value is the share of them that touch the cue.

    Args:
        maps: raw maps >= 0, (N, h, w).
        cues: masks of the cues (N, H, W), in [0, 1]; the cue is where they are above 1/2.

    Returns:
        (N,) in [0, 1].

    Example:
        >>> import torch
        >>> cue = torch.tensor([[[0.0, 0, 0, 1]]])
        >>> cue_found(torch.tensor([[[1.0, 2]]]), cue), cue_found(torch.tensor([[[1.0, 1, 2, 1]]]), cue)
        (tensor([1.]), tensor([0.]))

    """
    peaks = region(maps, 1)
    return ((peaks & _touched(maps, cues)).sum((-2, -1)) / peaks.sum((-2, -1))).nan_to_num(0)


def cue_chance(maps: Tensor, cues: Tensor) -> Tensor:
    """Compute how often a random position of a map touches the cue.

    Returns:
        (N,) in [0, 1].
    """
    return _touched(maps, cues).double().mean((-2, -1)).float()


def cue_energy(maps: Tensor, cues: Tensor) -> Tensor:
    """Compute the share of a map's mass on the cue, as `attention_inside` does; 0 for a map that is zero everywhere.

    Returns:
        (N,) in [0, 1].
    """
    return attention_inside(maps, cues).nan_to_num(0)


def cue_covered(maps: Tensor, cues: Tensor, share: float = 0.5) -> Tensor:
    """Compute the share of the cue where a map reaches a share of its maximum.

    Args:
        maps: raw maps >= 0, (N, h, w).
        cues: masks of the cues (N, H, W), in [0, 1].
        share: share of the map's maximum.

    Returns:
        (N,) in [0, 1]; 0 for a map that is zero everywhere, NaN without a cue.

    Example:
        >>> import torch
        >>> cue_covered(torch.tensor([[[0.0, 2, 1, 0]]]), torch.tensor([[[0.0, 0, 1, 1]]]))
        tensor([0.5000])

    """
    scores, masks = with_objects(maps, cues)
    return (region(scores, share) & masks).sum((-2, -1)) / masks.sum((-2, -1))


def cue_scores(maps: Tensor, cues: Tensor) -> dict[str, Tensor]:
    """Return "cue_found", "cue_chance", "cue_energy" and "cue_covered", (N,) each."""
    return {
        "cue_found": cue_found(maps, cues),
        "cue_chance": cue_chance(maps, cues),
        "cue_energy": cue_energy(maps, cues),
        "cue_covered": cue_covered(maps, cues),
    }


def _touched(maps: Tensor, cues: Tensor) -> Tensor:
    """Mark the positions (N, h, w) that hold some of the cue."""
    return F.adaptive_max_pool2d((cues > 0.5).float(), (maps.shape[-2], maps.shape[-1])) > 0


METRICS.add(
    "cue_found",
    Metric(
        "Finds the cue",
        "higher",
        "How often the position where the map is highest touches the planted cue.",
        percent=True,
    ),
)
METRICS.add(
    "cue_chance",
    Metric("By chance", "", "How often a random position of the map touches the cue.", percent=True),
)
METRICS.add(
    "cue_energy", Metric("Energy on the cue", "higher", "How much of the map lies on the planted cue.", percent=True)
)
METRICS.add(
    "cue_covered",
    Metric("Cue covered", "higher", "How much of the cue lies above half the map's maximum.", percent=True),
)
