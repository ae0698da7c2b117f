"""The mechanism that suspects are found by, and that a cure's pictures are made by, where none is named."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.attention.attend import attend

__all__ = ["cue_finder"]

_OF_TOKENS, _OF_FEATURES = "gradient_rollout", "grad_cam"


def cue_finder(model: nn.Module, images: Tensor, layer: str | None) -> str:
    """Return the mechanism that finds a planted cue best for its cost in networks of this kind, as measured.

    In a vision transformer each position of the last layer has read all others, so that a map of features points
    anywhere; following the attention between tokens leads back to the patches (see docs/mechanisms.md).

    Args:
        model: any classifier.
        images: (B, C, H, W); one is looked at.
        layer: the layer to read if one is named: its features are then what is asked about.
    """
    if layer is not None:
        return _OF_FEATURES
    try:
        attend(model, images[:1], mechanism=_OF_TOKENS)
    except ValueError:  # no attention between tokens, or in windows
        return _OF_FEATURES
    return _OF_TOKENS
