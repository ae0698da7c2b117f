"""The convolutional network that WARN augments on Cluttered Translated MNIST."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.networks.backbones.families import FAMILIES, Family
from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["ClutterNet"]

_SIDE = 5  # of the last map of a 40 px image, which the linear layers read position by position


class ClutterNet(nn.Module):
    """Five 3x3 convolutions and two linear layers, for images of about 40 px.

    Rodriguez et al. 2018, "Attend and Rectify" (WARN), sec. 4.2: "five 3x3 convolutional layers and two
    fully-connected layers in the end. The three first convolution layers are followed by Batch-normalization and a
    spatial pooling." Every convolution and the first linear layer end in a ReLU:

    | stage    | layers                   | channels  | map, H x W images | receptive field |
    |----------|--------------------------|-----------|-------------------|-----------------|
    | `stage1` | convolution, norm, pool  | width     | H/2 x W/2         | 5 px            |
    | `stage2` | convolution, norm, pool  | width     | H/4 x W/4         | 13 px           |
    | `stage3` | convolution, norm, pool  | 2 width   | H/8 x W/8         | 29 px           |
    | `stage4` | convolution              | 2 width   | H/8 x W/8         | 45 px           |
    | `stage5` | convolution              | 2 width   | H/8 x W/8         | 61 px           |

    The paper gives neither channels nor the pooling's size. Pooling is over 3x3 positions at stride 2: attention that
    starts "from the fifth convolution (or pooling instead) backward" stands after `stage5`, `stage3`, `stage2` and
    `stage1`, and at depth 4 its receptive field is the 5 x 5 px that the paper states (2x2 pooling gives 4 px).

    The linear layers read the last map flattened, 5 x 5 positions for a 40 px image; images (B, in_channels, H, W) of
    another size have theirs averaged to as many. Width 32 costs 17.9 MFLOPs a 40 px colour image, two for each
    multiply-add. Layers before a ReLU are initialised by He et al. (2015, arXiv 1502.01852), Eq. 10: normal, variance
    2 / fan-in, biases 0. The last layer keeps torch's default.

    Args:
        num_classes: number of logits.
        in_channels: channels of the images.
        width: channels of the first two convolutions.

    Raises:
        ValueError: if an argument is below 1.

    Example:
        >>> import torch
        >>> net = ClutterNet(num_classes=10)
        >>> net(torch.rand(2, 3, 40, 40)).shape
        torch.Size([2, 10])

    """

    def __init__(self, num_classes: int, in_channels: int = 3, width: int = 32) -> None:
        super().__init__()
        for argument, value in {"num_classes": num_classes, "in_channels": in_channels, "width": width}.items():
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, got {value}")
        wide = 2 * width
        self.stage1 = _pooled(in_channels, width)
        self.stage2 = _pooled(width, width)
        self.stage3 = _pooled(width, wide)
        self.stage4 = nn.Sequential(nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU())
        self.stage5 = nn.Sequential(nn.Conv2d(wide, wide, 3, padding=1), nn.ReLU())
        self.fc1 = nn.Linear(wide * _SIDE**2, 2 * wide)
        self.relu = nn.ReLU()
        self.fc2 = nn.Linear(2 * wide, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module is not self.fc2:
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, in_channels, H, W)."""
        features = self.stage1(channels_last(images))  # (B, width, H/2, W/2)
        features = self.stage2(features)  # (B, width, H/4, W/4)
        features = self.stage3(features)  # (B, 2 width, H/8, W/8)
        features = self.stage5(self.stage4(features))
        features = F.adaptive_avg_pool2d(features, _SIDE)  # as it is, for a 40 px image
        features = self.relu(self.fc1(features.flatten(1)))  # (B, 4 width)
        logits: Tensor = self.fc2(features)
        return logits


def _pooled(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


FAMILIES.add("clutter_cnn", Family(ClutterNet, ("clutter_cnn",)))
