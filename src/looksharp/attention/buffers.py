"""A forward that leaves a network's buffers alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["forward_on_copies"]


def forward_on_copies(network: nn.Module, images: Tensor) -> object:
    """Run a network whose BatchNorm, in training mode, updates copies of its buffers and not its own.

    BatchNorm still normalises by these images' own statistics.

    Args:
        network: any network, without wrappers.
        images: (N, C, H, W).
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return torch.func.functional_call(network, buffers, (images,))
