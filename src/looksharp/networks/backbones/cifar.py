"""The residual networks that He et al. (2016) trained on CIFAR."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.networks.backbones.families import FAMILIES, Family
from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["BasicBlock", "CifarResNet", "check_sizes", "initialize_convolutions"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around an identity: relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x)).

    He et al., Deep Residual Learning for Image Recognition, 2016 (arXiv 1512.03385), sec. 3.2 and 4.2. The
    shortcut is "option A", which has no parameters: every `stride`-th position, and zeros for the channels
    that `in_channels` lacks, appended after those it has. Maps (B, in_channels, H, W) to
    (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: channels of the input, at most `out_channels`.
        out_channels: channels of both convolutions.
        stride: stride of the first convolution and of the shortcut, in positions.

    Raises:
        ValueError: if `in_channels` exceeds `out_channels`.

    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        if in_channels > out_channels:
            raise ValueError(
                f"in_channels must be at most out_channels={out_channels}, got {in_channels}: an option-A "
                f"shortcut can only append channels; give the block more out_channels"
            )
        # No operation writes in place, so that whatever is recorded here stays as it was computed.
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            # A 1x1 average pool only skips positions; its stride can be changed, like a convolution's.
            self.downsample = nn.Sequential(
                nn.AvgPool2d(1, stride), nn.ZeroPad3d((0, 0, 0, 0, 0, out_channels - in_channels))
            )

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, out_channels, h, w)."""
        residual = self.relu(self.bn1(self.conv1(features)))  # (B, out_channels, h, w)
        residual = self.bn2(self.conv2(residual))
        output: Tensor = self.relu(residual + self.downsample(features))
        return output


class CifarResNet(nn.Module):
    """A residual network of 6n + 2 layers for small images: ResNet-20, 32, 44, 56, 110 of the CIFAR tables.

    He et al., Deep Residual Learning for Image Recognition, 2016 (arXiv 1512.03385), sec. 4.2 and Table 6: a
    3x3 convolution to 16 channels, three stages of n basic blocks with 16, 32 and 64 channels at strides 1, 2
    and 2 (`layer1`, `layer2`, `layer3`), option-A shortcuts, global average pooling and one linear layer.
    Images (B, in_channels, H, W) of any size give logits (B, num_classes); 32 px images have maps of 32, 16
    and 8 positions a side. Modules are named like torchvision's residual networks.

    Convolutions are initialised as by He et al. (2015, arXiv 1502.01852): normal, variance 2 / fan-out. The
    linear layer keeps torch's default.

    Args:
        depth: number of weighted layers, 6n + 2 and at least 8.
        num_classes: number of logits.
        in_channels: channels of the images.

    Raises:
        ValueError: if `depth` is not 6n + 2, or if `num_classes` or `in_channels` is below 1.

    Example:
        >>> import torch
        >>> CifarResNet(depth=20, num_classes=10)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    """

    def __init__(self, depth: int, num_classes: int, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth must be 6n + 2 with n of at least 1, got {depth}; take 20, 32, 44, 56 or 110")
        check_sizes(num_classes, in_channels)
        blocks = (depth - 2) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        initialize_convolutions(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, in_channels, H, W)."""
        features = self.relu(self.bn1(self.conv1(channels_last(images))))  # (B, 16, H, W)
        features = self.layer1(features)  # (B, 16, H, W)
        features = self.layer2(features)  # (B, 32, H/2, W/2)
        features = self.layer3(features)  # (B, 64, H/4, W/4)
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        BasicBlock(in_channels, out_channels, stride),
        *(BasicBlock(out_channels, out_channels) for _ in range(blocks - 1)),
    )


def check_sizes(num_classes: int, in_channels: int) -> None:
    """Refuse a network without classes or colours.

    Raises:
        ValueError: if `num_classes` or `in_channels` is below 1.

    """
    if num_classes < 1 or in_channels < 1:
        raise ValueError(
            f"num_classes and in_channels must be at least 1, got {num_classes} and {in_channels}; "
            f"give the number of classes and the channels of the images"
        )


def initialize_convolutions(network: nn.Module) -> None:
    """Draw every convolution anew as He et al. (2015, arXiv 1502.01852): normal, variance 2 / fan-out."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


FAMILIES.add(
    r"cifar_resnet(\d+)",
    Family(CifarResNet, tuple(f"cifar_resnet{depth}" for depth in (20, 32, 44, 56, 110))),
)
