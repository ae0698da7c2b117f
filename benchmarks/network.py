"""A backbone with random weights in which every layer matters."""

from __future__ import annotations

import torch
from torch import nn

from looksharp.networks.backbones.build import build_network

__all__ = ["random_network"]


def random_network(backbone: str, images: torch.Tensor, classes: int) -> nn.Module:
    """The backbone in training mode, on the device of `images`, its BatchNorm statistics those of `images`.

    timm starts the last BatchNorm of a residual block at zero: gradients would vanish in the blocks, and maps of
    an inner layer would hardly differ from the last layer's.
    """
    torch.manual_seed(0)
    model: nn.Module = build_network(backbone, classes).to(images.device).train()
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.0)
        norm.momentum = None  # the next forward's statistics alone
    with torch.no_grad():
        model(images)
    for norm in norms:
        norm.momentum = 0.1
    return model
