"""DeepLab-CRF-LargeFOV: a segmentation network around any backbone of convolutions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated

import torch
from annotated_types import Ge, Lt
from torch import Tensor, nn

from looksharp.attention.layout import pair
from looksharp.attention.probing import untouched_forward
from looksharp.attention.recording import first_tensor, logits_of
from looksharp.attention.stages import last_stages
from looksharp.networks.architecture import ARCHITECTURES, Attending, OwnMaps
from looksharp.networks.dilating import dilate
from looksharp.networks.extracting import MapExtractor, copied_in_its_modes
from looksharp.networks.large_fov_head import LargeFOVHead
from looksharp.networks.rank_pooling import decay_at, rank_pooling

__all__ = ["LargeFOV", "background_and_classes"]

_SIDE = 41  # of the published network's map, at which its dilation is 12
_DECAY = 0.996
_LEAST = 1e-4
_WHOLE = (nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d)


def background_and_classes(scores: Tensor) -> Tensor:
    """Return probabilities (B, 1 + C, h, w) of the background and each class, at every position, from their scores."""
    return scores.to(torch.promote_types(scores.dtype, torch.float32)).softmax(1)


@ARCHITECTURES.register("large_fov")
class LargeFOV(Attending):
    """A segmentation network: a backbone whose last stages keep their resolution, and a head that sees far.

    DeepLab-CRF-LargeFOV (Chen et al. 2015), on which SEC trains. VGG-16 reads 321 x 321 px and makes maps of 41 x 41:
    its pooling is over 3 x 3 positions, the last two at stride 1, its last convolutions are dilated by 2, and the fully
    connected layers become a 3 x 3 convolution dilated by 12 and two of 1 x 1, the first two cut from VGG's weights
    (every third position and every fourth channel). Around any other backbone it is the same head over the last map,
    with the last stages dilated; see `dilate`.

    At each position there are scores of the background and of every class, in `scores`, to be recorded by that name.
    `forward` returns logits of the image, so that it trains and is measured as any classifier: the log odds of each
    class's probability pooled over positions, see `rank_pooling`. Its built-in attention is the map of each class's
    probability.

    Args:
        backbone: a classifier of convolutions that `torch.fx` can trace; a copy of it is used.
        image_size: pixels, (height, width) or a side, at which resolutions are found; the network takes images of any
            size.
        stride: most pixels of the image, a side, for one position of the map; lower resolutions are done without.
        width: channels of the head.
        dilation: dilation of the head's first convolution; if not given, the same share of the map as 12 is of 41.
        dropout: dropout before each of the last two layers; 0.5 in the published network.

    Raises:
        ValueError: if no stage can be dilated, or the backbone cannot be traced.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> network = LargeFOV(CifarResNet(20, 10), image_size=32, width=32).eval()
        >>> network(torch.rand(2, 3, 32, 32)).shape, network.dense(torch.rand(2, 3, 32, 32)).shape
        (torch.Size([2, 10]), torch.Size([2, 11, 8, 8]))

    """

    def __init__(
        self,
        backbone: nn.Module,
        *,
        image_size: int | tuple[int, int] = 321,
        stride: Annotated[int, Ge(1)] = 8,
        width: Annotated[int, Ge(1)] = 1024,
        dilation: Annotated[int, Ge(1)] | None = None,
        dropout: Annotated[float, Ge(0), Lt(1)] = 0.0,
    ) -> None:
        super().__init__()
        size, backbone = pair(image_size), copy.deepcopy(backbone)
        images = torch.zeros(2, 3, *size, device=next(backbone.parameters()).device)
        classes = logits_of(untouched_forward(backbone, images)).shape[1]
        whole = _is_vgg(backbone)
        connected = [m for m in backbone.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-3:] if whole else []
        if whole:
            backbone = _wider_pooling(backbone.get_submodule("features"))
            place = [name for name, module in backbone.named_children() if isinstance(module, nn.Conv2d)][-1]
        else:
            (place,) = last_stages(backbone, images, 1)
        dilate(backbone, size, stride)
        self.place = place if whole else f"network.{place}"
        self.backbone = backbone if whole else MapExtractor(backbone, place)
        maps = first_tensor(untouched_forward(self.backbone, images))
        if maps is None or maps.ndim != 4:
            raise ValueError(f"backbone must make a map (B, C, h, w) in {place!r}; it makes none")
        reach = dilation or max(round(12 * min(maps.shape[-2:]) / _SIDE), 1)
        self.pool = nn.AvgPool2d(3, 1, 1) if whole else nn.Identity()
        self.head = LargeFOVHead(maps.shape[1], width, reach, dropout)
        self.scores = nn.Conv2d(width, 1 + classes, 1)
        with torch.no_grad():
            self.scores.weight.normal_(std=0.01)
        self.started = whole and self.head.cut_from(connected[0], connected[1])
        self.to(images.device)

    def __deepcopy__(self, memo: dict[int, object]) -> LargeFOV:
        """Return a copy in the same mode."""
        return copied_in_its_modes(self, memo)

    def added_parameters(self) -> list[nn.Parameter]:
        """Return the head's parameters, unless they were cut from the backbone's."""
        return [] if self.started else list(self.head.parameters())

    def attention_layers(self) -> tuple[str, ...]:
        """Return the name of the scores."""
        return ("scores",)

    def own_maps(self, features: Mapping[str, Tensor]) -> dict[str, OwnMaps]:
        """Return the map of each class's probability."""
        return {self.place: OwnMaps(background_and_classes(features["scores"])[:, 1:], per_class=True)}

    def dense(self, images: Tensor) -> Tensor:
        """Return scores (B, 1 + C, h, w) of the background and each class, at every position."""
        scores: Tensor = self.scores(self.head(self.pool(self.backbone(images))))
        return scores

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C) of the image."""
        scores = self.dense(images)
        odds = background_and_classes(scores)[:, 1:]
        pooled = rank_pooling(odds, decay_at(_DECAY, odds.shape[-2] * odds.shape[-1])).clamp(_LEAST, 1 - _LEAST)
        return pooled.logit().to(scores.dtype)


def _is_vgg(backbone: nn.Module) -> bool:
    """Return True if a backbone is a sequence of convolutions and pooling, and connected layers behind it."""
    features = getattr(backbone, "features", None)
    if not isinstance(features, nn.Sequential) or not all(isinstance(module, _WHOLE) for module in features):
        return False
    behind = [m for m in backbone.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m not in set(features)]
    return len(behind) == 3  # fc6, fc7 and fc8


def _wider_pooling(features: nn.Module) -> nn.Module:
    """Make every pooling one over 3 x 3 positions, padded, as in the published network: 321 px become 41."""
    for module in features.children():
        if isinstance(module, nn.MaxPool2d):
            module.kernel_size, module.padding = 3, 1
    return features
