"""Another forward in the same step."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.attention.buffers import forward_on_copies
from looksharp.attention.eager import eagerly
from looksharp.attention.recording import logits_of, unwrapped

__all__ = ["second_pass"]


def second_pass(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of another forward, which shares the model's parameters and leaves its buffers alone.

    In training mode BatchNorm normalises by these images' own statistics; its running statistics do not move.

    Args:
        model: any classifier.
        images: (N, C, H, W), normalised.

    Returns:
        Logits (N, classes).
    """
    with eagerly(model):
        return logits_of(forward_on_copies(unwrapped(model), images))
