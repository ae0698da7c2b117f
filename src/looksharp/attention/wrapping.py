"""Networks around another one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

__all__ = ["Wrapping", "backbone_path"]


class Wrapping(nn.Module, ABC):
    """A classifier around another one, its `backbone`; whatever a paper adds lies outside of that.

    Attributes:
        backbone: the network inside, whole.

    """

    backbone: nn.Module

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, classes) for images (B, C, H, W)."""


def backbone_path(network: nn.Module) -> str:
    """Name of the innermost backbone in `network`: "" unless it is a `Wrapping`."""
    names = []
    while isinstance(network, Wrapping):
        network = network.backbone
        names.append("backbone")
    return ".".join(names)
