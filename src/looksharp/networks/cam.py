"""The CAM network: a backbone whose classifier is pooled class maps."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from looksharp.attention.layout import pair
from looksharp.networks.architecture import ARCHITECTURES, Architecture
from looksharp.networks.cutting import at_stride_one, find_stage, replace_stage, stage_channels, stage_input
from looksharp.networks.extracting import copied_in_its_modes, extract

__all__ = ["CAMNetwork"]


@ARCHITECTURES.register("cam")
class CAMNetwork(Architecture):
    """A backbone rebuilt for class activation mapping: the baseline ResNet+CAM and VGG+CAM of ABN's Table 2.

    Zhou et al. 2016; ABN Sec. 3.1 and 4.2 and Fig. 1a: the last stage at stride 1, a convolution to K channels,
    global average pooling, and a fully connected layer. The convolution is 1x1 where the backbone's own classifier
    is one layer (ResNet), and 3x3 where it replaces fully connected layers (VGG). Since pooled maps are classified
    by one linear layer, mechanism `cam` reads the class maps with no backward.

    Args:
        backbone: a classifier that `torch.fx` can trace; a copy of it is taken up to its last stage.
        image_size: pixels, (height, width) or a side, at which the last stage is found; the network takes images of any
            size.
        cut: name of the module at which the last stage begins; found if not given.

    Raises:
        ValueError: if no last stage is found, it cannot run at stride 1, or the backbone cannot be traced.

    Example:
        >>> import torch
        >>> from looksharp.networks import CifarResNet
        >>> CAMNetwork(CifarResNet(20, 10), image_size=32)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])

    """

    def __init__(self, backbone: nn.Module, *, image_size: int | tuple[int, int] = 224, cut: str | None = None) -> None:
        super().__init__()
        size = pair(image_size)
        backbone = copy.deepcopy(backbone)
        found = find_stage(backbone, size, cut)
        features, classes = stage_input(backbone, found.name, size)
        stage = replace_stage(backbone, found, at_stride_one)
        channels = stage_channels(stage, features, found.name)
        self.features: nn.Module = extract(backbone, found.name)
        kernel = 3 if found.hidden else 1
        self.class_maps = nn.Conv2d(channels, classes, kernel, padding=kernel // 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(classes, classes)
        nn.init.kaiming_normal_(self.class_maps.weight, mode="fan_out", nonlinearity="relu")
        self.to(features.device)

    def __deepcopy__(self, memo: dict[int, object]) -> CAMNetwork:
        """Return a copy in the same mode."""
        return copied_in_its_modes(self, memo)

    def added_parameters(self) -> list[nn.Parameter]:
        """Return no parameters: the class maps learn as the backbone does."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) for images (B, 3, H, W)."""
        maps = self.class_maps(self.features(images)["maps"])  # (B, K, h, w)
        logits: Tensor = self.classifier(self.pool(maps).flatten(1))
        return logits
