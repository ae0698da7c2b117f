"""Test whether a map finds a cue that is known to decide the answer."""

from __future__ import annotations

from torch import Tensor

from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.metrics.localisation import attention_inside, pointing_game
from looksharp.metrics.scores import region, with_objects

__all__ = ["cue_covered", "cue_energy", "cue_found", "cue_scores"]


def cue_found(maps: Tensor, cues: Tensor) -> Tensor:
    """Test whether a map's maximum lies on the cue, as `pointing_game` does; a map that is zero everywhere misses.

    Args:
        maps: raw maps >= 0, (N, h, w).
        cues: masks of the cues (N, H, W), in [0, 1].

    Returns:
        (N,) in [0, 1].
    """
    return pointing_game(maps, cues).nan_to_num(0)


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
    """Return "cue_found", "cue_energy" and "cue_covered", (N,) each."""
    return {
        "cue_found": cue_found(maps, cues),
        "cue_energy": cue_energy(maps, cues),
        "cue_covered": cue_covered(maps, cues),
    }


METRICS.add(
    "cue_found",
    Metric("Finds the cue", "higher", "How often the map's maximum lies on the planted cue.", percent=True),
)
METRICS.add(
    "cue_energy", Metric("Energy on the cue", "higher", "How much of the map lies on the planted cue.", percent=True)
)
METRICS.add(
    "cue_covered",
    Metric("Cue covered", "higher", "How much of the cue lies above half the map's maximum.", percent=True),
)
