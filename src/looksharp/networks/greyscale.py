"""A classifier of grey images that takes colours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.attention.wrapping import Wrapping
from looksharp.networks.architecture import ARCHITECTURES, Architecture

__all__ = ["Greyscale"]

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL and torchvision convert


@ARCHITECTURES.register("greyscale")
class Greyscale(Wrapping, Architecture):
    """Convert colours to grey, 0.299 R + 0.587 G + 0.114 B, before a classifier of images of one channel.

    The weights add to 1: where the three channels are normalised alike, a grey picture reaches the backbone as it is.

    Args:
        backbone: a classifier of images (B, 1, H, W).
        image_size: not used; every architecture is given it.

    Example:
        >>> from looksharp.networks import SmallNet
        >>> Greyscale(SmallNet(10, in_channels=1))(torch.rand(2, 3, 48, 48)).shape
        torch.Size([2, 10])

    """

    in_channels = 1

    def __init__(self, backbone: nn.Module, *, image_size: int | tuple[int, int] = 224) -> None:
        super().__init__()
        self.backbone = backbone

    def added_parameters(self) -> list[nn.Parameter]:
        """Return no parameters: nothing of the conversion is learnt."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        """Return the backbone's logits (B, num_classes) for images (B, 3, H, W)."""
        weights = torch.tensor(_LUMA, dtype=images.dtype, device=images.device)[:, None, None]
        logits: Tensor = self.backbone((images * weights).sum(1, keepdim=True))
        return logits
