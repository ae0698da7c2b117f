"""The wide residual networks that Zagoruyko and Komodakis (2016) trained on CIFAR."""

from __future__ import annotations

from torch import Tensor, nn

from looksharp.networks.backbones.cifar import check_sizes, initialize_convolutions
from looksharp.networks.backbones.families import FAMILIES, Family
from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["CifarWideResNet", "WideBlock"]


class WideBlock(nn.Module):
    """Two 3x3 convolutions, each after BatchNorm and ReLU: conv2(dropout(relu(bn2(conv1(a))))) + shortcut.

    Zagoruyko & Komodakis, Wide Residual Networks, 2016 (arXiv 1605.07146), sec. 2, Fig. 1 (c, d), with
    a = relu(bn1(x)). Where shapes agree the shortcut is x itself. Where they do not, it is a 1x1 convolution
    without BatchNorm that reads a, not x, as in the authors' code.
    Maps (B, in_channels, H, W) to (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: channels of the input.
        out_channels: channels of both convolutions.
        stride: stride of the first convolution and of the shortcut, in positions.
        dropout: probability with which dropout, between the convolutions, zeroes a value.

    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        # No operation writes in place, so that whatever is recorded here stays as it was computed.
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.projects = stride != 1 or in_channels != out_channels
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False) if self.projects else nn.Identity()

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, in_channels, H, W) to (B, out_channels, h, w)."""
        activated = self.relu1(self.bn1(features))  # (B, in_channels, H, W)
        residual = self.dropout(self.relu2(self.bn2(self.conv1(activated))))  # (B, out_channels, h, w)
        output: Tensor = self.conv2(residual) + self.shortcut(activated if self.projects else features)
        return output


class CifarWideResNet(nn.Module):
    """A wide residual network of 6n + 4 layers for small images: WRN-16-4, WRN-28-10, WRN-40-10.

    Zagoruyko & Komodakis, Wide Residual Networks, 2016 (arXiv 1605.07146), Table 1: pre-activation blocks of
    two 3x3 convolutions, k times as wide as those of He et al.; BatchNorm and ReLU after the last of them,
    global average pooling and one linear layer. Images (B, in_channels, H, W) of any size give logits
    (B, num_classes):

    | stage    | blocks | channels | stride | map of 32 px |
    |----------|--------|----------|--------|--------------|
    | `conv1`  |        | 16       | 1      | 32 x 32      |
    | `layer1` | n      | 16 k     | 1      | 32 x 32      |
    | `layer2` | n      | 32 k     | 2      | 16 x 16      |
    | `layer3` | n      | 64 k     | 2      | 8 x 8        |

    The map that is pooled is the output of `relu`, after `layer3` and `bn`. Of the 6n + 4 layers, 6n are in
    the blocks, one is `conv1` and three are the shortcuts that change the width (the linear layer is not
    counted). WRN-28-10 has 36.5 million parameters and takes 5.2 billion multiply-adds for 32 px, WRN-40-10
    55.8 million and 8.1 billion. Convolutions are initialised as by He et al. (2015, arXiv 1502.01852): normal,
    variance 2 / fan-out; the linear layer keeps torch's default, with a bias of 0 as in the authors' code.

    Args:
        depth: number of layers, 6n + 4 and at least 10.
        width: k, the widening factor.
        num_classes: number of logits.
        in_channels: channels of the images.
        dropout: probability of dropout inside the blocks; the paper's is 0.3 on CIFAR.

    Raises:
        ValueError: if `depth` is not 6n + 4, if `width`, `num_classes` or `in_channels` is below 1, or if
            `dropout` is not in [0, 1).

    Example:
        >>> import torch
        >>> CifarWideResNet(depth=10, width=2, num_classes=10, dropout=0.3)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    """

    def __init__(self, depth: int, width: int, num_classes: int, in_channels: int = 3, *, dropout: float = 0.0) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"depth must be 6n + 4 with n of at least 1, got {depth}; take 16, 22, 28 or 40")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}; take 4 or 10")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a probability below 1, got {dropout:g}; take 0 or 0.3")
        check_sizes(num_classes, in_channels)
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.layer1 = _stage(16, 16 * width, blocks, stride=1, dropout=dropout)
        self.layer2 = _stage(16 * width, 32 * width, blocks, stride=2, dropout=dropout)
        self.layer3 = _stage(32 * width, 64 * width, blocks, stride=2, dropout=dropout)
        self.bn = nn.BatchNorm2d(64 * width)
        self.relu = nn.ReLU()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64 * width, num_classes)
        initialize_convolutions(self)
        nn.init.zeros_(self.fc.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, num_classes) for images (B, in_channels, H, W)."""
        features = self.conv1(channels_last(images))  # (B, 16, H, W)
        features = self.layer1(features)  # (B, 16 k, H, W)
        features = self.layer2(features)  # (B, 32 k, H/2, W/2)
        features = self.layer3(features)  # (B, 64 k, H/4, W/4)
        features = self.relu(self.bn(features))
        logits: Tensor = self.fc(self.avgpool(features).flatten(1))
        return logits


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        WideBlock(in_channels, out_channels, stride, dropout),
        *(WideBlock(out_channels, out_channels, dropout=dropout) for _ in range(blocks - 1)),
    )


def _with_dropout(depth: int, width: int, percent: int, **sizes: int) -> CifarWideResNet:
    return CifarWideResNet(depth, width, dropout=percent / 100, **sizes)


FAMILIES.add(r"cifar_wrn(\d+)_(\d+)", Family(CifarWideResNet, ("cifar_wrn16_4", "cifar_wrn28_10", "cifar_wrn40_10")))
FAMILIES.add(r"cifar_wrn(\d+)_(\d+)_drop(\d\d)", Family(_with_dropout, ("cifar_wrn28_4_drop30",)))
