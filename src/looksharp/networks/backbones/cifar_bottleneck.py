"""Residual networks of bottleneck blocks for CIFAR: ResNeXt, and the ResNet of the ABN authors' code."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.networks.backbones.cifar import check_sizes, initialize_convolutions
from looksharp.networks.backbones.families import FAMILIES, Family
from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["CifarBottleneckResNet", "cifar_bottleneck_resnet", "cifar_resnext"]


class CifarBottleneckResNet(nn.Module):
    """A residual network of three stages of bottleneck blocks for small images.

    He et al., Deep Residual Learning for Image Recognition, 2016 (arXiv 1512.03385), Fig. 5, and with more
    than one group Xie et al., Aggregated Residual Transformations, 2017 (arXiv 1611.05431), Fig. 3 (c): a block
    is a 1x1 convolution, a 3x3 convolution in `groups` groups, which strides, and a 1x1 convolution to four
    times its planes, each with BatchNorm, and ReLU between them and after the sum. The shortcut is "option B":
    identity, or a 1x1 convolution with BatchNorm where shapes change. Blocks are torchvision's. Images
    (B, in_channels, H, W) of any size give logits (B, num_classes); with width w:

    | stage    | blocks   | 3x3 convolution            | output channels | stride | map of 32 px |
    |----------|----------|----------------------------|-----------------|--------|--------------|
    | `conv1`  |          |                            | w               | 1      | 32 x 32      |
    | `layer1` | `blocks` | groups x group_width w/64  | 4 w             | 1      | 32 x 32      |
    | `layer2` | `blocks` | groups x group_width 2w/64 | 8 w             | 2      | 16 x 16      |
    | `layer3` | `blocks` | groups x group_width 4w/64 | 16 w            | 2      | 8 x 8        |

    Global average pooling and one linear layer follow. Modules are named like torchvision's residual networks.
    Convolutions are initialised as by He et al. (2015, arXiv 1502.01852): normal, variance 2 / fan-out; the
    linear layer keeps torch's default.

    Args:
        blocks: blocks a stage.
        width: channels of the first convolution, and planes of the first stage.
        num_classes: number of logits.
        in_channels: channels of the images.
        groups: groups of the 3x3 convolutions, the "cardinality".
        group_width: channels of a group, for 64 planes.

    Raises:
        ValueError: if `blocks`, `width`, `groups`, `group_width`, `num_classes` or `in_channels` is below 1, or
            if a group would have no channel.

    Example:
        >>> import torch
        >>> CifarBottleneckResNet(blocks=1, width=16, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    """

    def __init__(
        self,
        blocks: int,
        width: int,
        num_classes: int,
        in_channels: int = 3,
        *,
        groups: int = 1,
        group_width: int = 64,
    ) -> None:
        super().__init__()
        sizes = {"blocks": blocks, "width": width, "groups": groups, "group_width": group_width}
        for argument, value in sizes.items():
            if value < 1:
                raise ValueError(f"{argument} must be at least 1, got {value}; take 3 blocks of width 64, for one")
        if width * group_width < 64:
            raise ValueError(
                f"group_width must give a group a channel, got {group_width} for 64 planes and {width} planes; "
                f"take {-(-64 // width)} or more"
            )
        check_sizes(num_classes, in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(width, width, blocks, 1, groups, group_width)
        self.layer2 = _stage(4 * width, 2 * width, blocks, 2, groups, group_width)
        self.layer3 = _stage(8 * width, 4 * width, blocks, 2, groups, group_width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(16 * width, num_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, in_channels, H, W)."""
        features = self.relu(self.bn1(self.conv1(channels_last(images))))  # (B, w, H, W)
        features = self.layer1(features)  # (B, 4 w, H, W)
        features = self.layer2(features)  # (B, 8 w, H/2, W/2)
        features = self.layer3(features)  # (B, 16 w, H/4, W/4)
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


def cifar_resnext(
    depth: int, cardinality: int, width: int, num_classes: int, in_channels: int = 3
) -> CifarBottleneckResNet:
    """Build a ResNeXt of 9n + 2 layers for small images: ResNeXt-29, 8x64d and 16x64d.

    Xie et al., Aggregated Residual Transformations for Deep Neural Networks, 2017 (arXiv 1611.05431), sec. 5.3:
    n blocks a stage, with `cardinality` groups of `width`, 2 `width` and 4 `width` channels, and 256, 512 and
    1024 output channels. ResNeXt-29, 8x64d has 34.4 million parameters and takes 5.4 billion multiply-adds for
    32 px. ReLU comes after the sum, as in the authors' published code, which says that the paper's CIFAR
    results had pre-activated blocks and that these are better.

    ABN (Fukui et al. 2019, sec. 4.2) names "depth 28, cardinality 8, widen factor 4": widen factor 4 means the
    256 channels of the first stage. Its authors' commands say depth 29, `cifar_resnext(29, 8, 64, ...)`; given
    28, their code builds floor(26 / 9) = 2 blocks a stage, which is `cifar_resnext(20, 8, 64, ...)`.

    Args:
        depth: number of weighted layers, 9n + 2 and at least 11.
        cardinality: groups of the 3x3 convolutions.
        width: channels of a group in the first stage.
        num_classes: number of logits.
        in_channels: channels of the images.

    Raises:
        ValueError: if `depth` is not 9n + 2, or if another argument is below 1.

    Example:
        >>> net = cifar_resnext(depth=20, cardinality=4, width=4, num_classes=10)
        >>> net.layer1[0].conv2
        Conv2d(16, 16, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), groups=4, bias=False)

    """
    if depth < 11 or depth % 9 != 2:
        raise ValueError(f"depth must be 9n + 2 with n of at least 1, got {depth}; take 20, 29, 38 or 47")
    for argument, value in {"cardinality": cardinality, "width": width}.items():
        if value < 1:
            raise ValueError(f"{argument} must be at least 1, got {value}; take cardinality 8 and width 64")
    return CifarBottleneckResNet((depth - 2) // 9, 64, num_classes, in_channels, groups=cardinality, group_width=width)


def cifar_bottleneck_resnet(depth: int, num_classes: int, in_channels: int = 3) -> CifarBottleneckResNet:
    """Build ResNet-44, 56 or 110 of ABN's published code: `CifarResNet` with bottleneck blocks.

    The code of Fukui et al. (2019) keeps He et al.'s n = (depth - 2) / 6 blocks a stage and 16, 32 and 64
    planes, but from depth 44 on gives every block three convolutions and four times the output channels (64,
    128 and 256), with 1x1 convolutions as shortcuts. So its "ResNet-110" has 9 * 18 + 2 = 164 weighted layers
    on its longest path. The paper speaks of ResNet-110 alone; He et al.'s own is `CifarResNet(110, ...)`.

    Args:
        depth: the name's number, 6n + 2 and at least 8.
        num_classes: number of logits.
        in_channels: channels of the images.

    Raises:
        ValueError: if `depth` is not 6n + 2, or if another argument is below 1.

    Example:
        >>> len(cifar_bottleneck_resnet(depth=44, num_classes=10).layer3)
        7

    """
    if depth < 8 or depth % 6 != 2:
        raise ValueError(f"depth must be 6n + 2 with n of at least 1, got {depth}; take 44, 56 or 110")
    return CifarBottleneckResNet((depth - 2) // 6, 16, num_classes, in_channels)


def _stage(in_channels: int, planes: int, blocks: int, stride: int, groups: int, group_width: int) -> nn.Sequential:
    from torchvision.models.resnet import Bottleneck  # here, because it takes a second

    channels = 4 * planes
    downsample = None
    if stride != 1 or in_channels != channels:
        downsample = nn.Sequential(nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
    options = {"groups": groups, "base_width": group_width}
    return nn.Sequential(
        Bottleneck(in_channels, planes, stride, downsample, **options),
        *(Bottleneck(channels, planes, **options) for _ in range(blocks - 1)),
    )


FAMILIES.add(r"cifar_resnet(\d+)_bottleneck", Family(cifar_bottleneck_resnet, ("cifar_resnet110_bottleneck",)))
FAMILIES.add(r"cifar_resnext(\d+)_(\d+)x(\d+)", Family(cifar_resnext, ("cifar_resnext29_8x64",)))
