"""The densely connected networks that Huang et al. (2017) trained on CIFAR."""

from __future__ import annotations

from torch import nn

from looksharp.networks.backbones.cifar import check_sizes, initialize_convolutions
from looksharp.networks.backbones.families import FAMILIES, Family

__all__ = ["cifar_densenet"]


def cifar_densenet(depth: int, growth: int, num_classes: int, in_channels: int = 3) -> nn.Module:
    """Build a DenseNet-BC of 6n + 4 layers for small images: L = 100, k = 12 and L = 190, k = 40 of the paper.

    Huang et al., Densely Connected Convolutional Networks, 2017 (arXiv 1608.06993), sec. 3 and 4.2:
    torchvision's DenseNet with three dense blocks of n layers and a first convolution of 3x3 that does not
    stride, without BatchNorm, ReLU and pooling after it. A layer is BatchNorm, ReLU, 1x1 convolution to 4 k
    channels, BatchNorm, ReLU, 3x3 convolution to k channels, joined to its input; a transition is BatchNorm,
    ReLU, 1x1 convolution to half the channels, 2x2 average pooling. BatchNorm (`norm5`, its name in
    torchvision), ReLU, global average pooling and one linear layer, `classifier`, follow. Images
    (B, in_channels, H, W), 4 px a side or more, give logits (B, num_classes). The children of `features`:

    | module                       | map of 32 px | output channels at L = 100, k = 12 |
    |------------------------------|--------------|------------------------------------|
    | `conv0`                      | 32 x 32      | 24 (2 k)                           |
    | `denseblock1`                | 32 x 32      | 216                                |
    | `transition1`, `denseblock2` | 16 x 16      | 108, 300                           |
    | `transition2`, `denseblock3` | 8 x 8        | 150, 342                           |
    | `norm5`                      | 8 x 8        | 342                                |

    It has 0.77 million parameters and takes 0.3 billion multiply-adds for 32 px. Convolutions are initialised
    as by He et al. (2015, arXiv 1502.01852): normal, variance 2 / fan-out, as in the authors' code; the linear
    layer's bias starts at 0.

    Args:
        depth: L, the number of weighted layers, 6n + 4 and at least 10.
        growth: k, the channels that a layer adds.
        num_classes: number of logits.
        in_channels: channels of the images.

    Raises:
        ValueError: if `depth` is not 6n + 4, or if `growth`, `num_classes` or `in_channels` is below 1.

    Example:
        >>> net = cifar_densenet(depth=100, growth=12, num_classes=10)
        >>> sum(parameter.numel() for parameter in net.parameters())
        769162

    """
    from torchvision.models import DenseNet  # here, because it takes a second

    if depth < 10 or depth % 6 != 4:
        raise ValueError(f"depth must be 6n + 4 with n of at least 1, got {depth}; take 40, 100, 190 or 250")
    if growth < 1:
        raise ValueError(f"growth must be at least 1, got {growth}; take 12, 24 or 40")
    check_sizes(num_classes, in_channels)
    layers = (depth - 4) // 6
    network: nn.Module = DenseNet(growth, (layers, layers, layers), 2 * growth, num_classes=num_classes)
    features = network.get_submodule("features")
    features.conv0 = nn.Conv2d(in_channels, 2 * growth, 3, padding=1, bias=False)
    del features.norm0, features.relu0, features.pool0
    initialize_convolutions(network)
    return network


FAMILIES.add(r"cifar_densenet(\d+)_(\d+)", Family(cifar_densenet, ("cifar_densenet100_12",)))
