"""A small classifier whose positions are local, and the same with positions that see the whole image."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from looksharp.networks.backbones.cifar import BasicBlock, check_sizes, initialize_convolutions
from looksharp.networks.backbones.families import FAMILIES, Family
from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["SmallNet"]


class SmallNet(nn.Module):
    """A plain convolutional classifier for images of about 48 px, small enough to train on a CPU in minutes.

    Six 3x3 convolutions, each with BatchNorm and ReLU, in three stages; average pooling; one linear layer:

    | stage    | convolutions (stride) | channels  | map, H x W images | receptive field |
    |----------|-----------------------|-----------|-------------------|-----------------|
    | `stage1` | 3 (2, 1, 1)           | width / 2 | H/2 x W/2         | 11 px           |
    | `stage2` | 2 (2, 1)              | width     | H/4 x W/4         | 23 px           |
    | `stage3` | 1 (2)                 | 2 width   | H/8 x W/8         | 31 px           |

    The receptive field of a position of `stage3` is 31 x 31 px, centred on the pixel at 8 times its index, so
    in a 48 px image every position of both last maps (12 x 12 and 6 x 6) is local: it cannot depend
    on the far side. With `deep`, four residual blocks follow in `stage3`; its receptive field becomes
    159 x 159 px, and every position sees the whole of an image of up to 80 px. (In training mode BatchNorm's
    statistics connect all positions of a batch, as in any such network.)

    Width 32 costs 11.1 MFLOPs a 48 px colour image (32.4 with `deep`), two for each multiply-add. Images
    (B, in_channels, H, W) of any size give logits (B, num_classes). It is from no paper, but made for experiments on
    where a network looks. Convolutions are initialised normal with variance 2 / fan-out.

    Args:
        num_classes: number of logits.
        width: channels of `stage2`; even.
        deep: let every position of the last map see the whole image.
        in_channels: channels of the images.

    Raises:
        ValueError: if `width` is not a positive even number, or `num_classes` or `in_channels` is below 1.

    Example:
        >>> import torch
        >>> net = SmallNet(num_classes=10)
        >>> net(torch.rand(2, 3, 48, 48)).shape
        torch.Size([2, 10])

    """

    def __init__(self, num_classes: int, width: int = 32, deep: bool = False, in_channels: int = 3) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"width must be a positive even number, got {width}; take 32")
        check_sizes(num_classes, in_channels)
        narrow, wide = width // 2, 2 * width
        self.stage1 = nn.Sequential(
            _convolution(in_channels, narrow, stride=2),
            _convolution(narrow, narrow),
            _convolution(narrow, narrow),
        )
        self.stage2 = nn.Sequential(_convolution(narrow, width, stride=2), _convolution(width, width))
        self.stage3 = nn.Sequential(
            _convolution(width, wide, stride=2),
            *(BasicBlock(wide, wide) for _ in range(4 if deep else 0)),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(wide, num_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, in_channels, H, W)."""
        features = self.stage1(channels_last(images))  # (B, width / 2, H/2, W/2)
        features = self.stage2(features)  # (B, width, H/4, W/4)
        features = self.stage3(features)  # (B, 2 width, H/8, W/8)
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
    )


FAMILIES.add("small", Family(SmallNet, ("small",)))
FAMILIES.add("small_deep", Family(partial(SmallNet, deep=True), ("small_deep",)))
