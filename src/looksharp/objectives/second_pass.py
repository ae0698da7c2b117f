"""Another forward in the same step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
    network = unwrapped(model)
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return logits_of(torch.func.functional_call(network, buffers, (images,)))
