"""A small U-Net that tells an object's pixels from the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["SmallUNet"]


class SmallUNet(nn.Module):
    """A U-Net of three scales, after Ronneberger et al. 2015, "U-Net"; padded, so that maps keep the image's size.

    The finest scale is half the image's, four pixels folded into one: a quarter of the work, for outlines that are
    exact to two pixels.

    Args:
        width: channels at the finest scale; twice and three times as many at the next two.

    Example:
        >>> SmallUNet()(torch.rand(2, 3, 30, 45)).shape
        torch.Size([2, 30, 45])

    """

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        fine, middle, coarse = width, 2 * width, 3 * width
        self.fine_in, self.middle_in, self.coarse = _block(12, fine), _block(fine, middle), _block(middle, coarse)
        self.middle_out, self.fine_out = _block(coarse + middle, middle), _block(middle + fine, fine)
        self.classifier = nn.Conv2d(fine, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, H, W) of the object for images (B, 3, H, W)."""
        height, width = images.shape[-2:]
        folded = F.pixel_unshuffle(F.pad(images, (0, width % 2, 0, height % 2), mode="replicate"), 2)
        fine = self.fine_in(channels_last(folded))
        middle = self.middle_in(F.max_pool2d(fine, 2, ceil_mode=True))
        coarse = self.coarse(F.max_pool2d(middle, 2, ceil_mode=True))
        middle = self.middle_out(torch.cat([_enlarged(coarse, middle), middle], 1))
        fine = self.fine_out(torch.cat([_enlarged(middle, fine), fine], 1))
        logits = F.interpolate(self.classifier(fine), (height, width), mode="bilinear", align_corners=False)
        return logits.squeeze(1)


def _block(read: int, made: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (read, made):
        layers += [nn.Conv2d(channels, made, 3, padding=1, bias=False), nn.BatchNorm2d(made), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def _enlarged(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, size=like.shape[-2:])
