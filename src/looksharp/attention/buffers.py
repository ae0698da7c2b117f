"""A forward that leaves a network's buffers alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["forward_on_copies"]


def forward_on_copies(network: nn.Module, images: Tensor) -> Any:
    """Return what the network returns; BatchNorm in training mode updates copies of its buffers, not its own.

    It normalises by these images' own statistics all the same.

    Args:
        network: any network, without wrappers.
        images: (N, C, H, W).
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return torch.func.functional_call(network, buffers, (images,))
