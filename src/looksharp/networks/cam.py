"""The CAM network: a backbone whose classifier is pooled class maps."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from looksharp.attention.layout import pair
from looksharp.networks.architecture import ARCHITECTURES, Architecture
from looksharp.networks.cutting import at_stride_one, find_stage, replace_stage, stage_channels, stage_input

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
        # Here, because they take seconds to load.
        from timm.models import get_notrace_functions, get_notrace_modules
        from torchvision.models.feature_extraction import create_feature_extractor

        opaque = {"leaf_modules": get_notrace_modules(), "autowrap_functions": get_notrace_functions()}
        try:
            self.features: nn.Module = create_feature_extractor(
                backbone, {found.name: "maps"}, tracer_kwargs=opaque, suppress_diff_warning=True
            )
        except Exception as error:  # torch.fx raises whatever the traced code does
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(f"backbone {type(backbone).__name__} cannot be cut by torch.fx: {reason}") from None
        kernel = 3 if found.hidden else 1
        self.class_maps = nn.Conv2d(channels, classes, kernel, padding=kernel // 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(classes, classes)
        nn.init.kaiming_normal_(self.class_maps.weight, mode="fan_out", nonlinearity="relu")
        self.to(features.device)

    def __deepcopy__(self, memo: dict[int, object]) -> CAMNetwork:
        """Return a copy in the same mode, which torch.fx loses: it would classify by the batch's own statistics."""
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        for name, module in self.named_modules():
            other.get_submodule(name).train(module.training)
        return other

    def added_parameters(self) -> list[nn.Parameter]:
        """Return no parameters: the class maps learn as the backbone does."""
        return []

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, K) for images (B, 3, H, W)."""
        maps = self.class_maps(self.features(images)["maps"])  # (B, K, h, w)
        logits: Tensor = self.classifier(self.pool(maps).flatten(1))
        return logits
