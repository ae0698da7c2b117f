"""Average drop and increase in confidence: how well a class is recognised from the region of its map alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor, nn

from looksharp.attention.maps import normalize_maps
from looksharp.metrics.faithfulness.perturbation import check_samples, class_probabilities
from looksharp.metrics.grouped import Grouped, MetricOptions
from looksharp.metrics.scores import at_resolution

__all__ = ["AverageDrop", "ConfidenceChange", "average_drop"]

_ROUNDING = 1e-5


class Options(TypedDict, total=False):
    """Options of `average_drop`; see there."""

    baseline: float | Tensor
    multilabel: bool
    batch_size: int


class ConfidenceChange(NamedTuple):
    """Changes that `average_drop` found, in percent, float64; NaN for a map that shows nothing.

    Attributes:
        drop: (N,) in 0 to 100: the lower, the better.
        increase: (N,) 0 or 100: the higher, the better. Its mean is the share of samples.
    """

    drop: Tensor
    increase: Tensor


def average_drop(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    baseline: float | Tensor = 0.0,
    multilabel: bool = False,
    batch_size: int = 64,
) -> ConfidenceChange:
    """Measure how much of a class's probability is lost, or gained, where the image is multiplied by its map.

    Chattopadhay et al. 2018, "Grad-CAM++": with the probability Y of the class for the image and O for the
    image multiplied by the map, drop max(0, Y - O) / Y and increase [Y < O]. The map is resized to the image, then
    divided by its maximum.

    pytorch-grad-cam's `DropInConfidence` is max(0, Y - O), not divided by Y, and neither resizes nor scales the map;
    its `IncreaseInConfidence` is the same, except that increases below a 100,000th of Y do not count here.

    Cost: 2 forwards of the model for each image.

    Args:
        model: any classifier, in eval mode.
        images: (N, C, H, W), as the model expects them.
        maps: (N, h, w), raw, at any scale; negative values of signed maps show nothing.
        classes: (N,) the class that each map explains.
        baseline: pixels where the map is zero: a number, or a tensor that broadcasts to the images. Zero is the mean
            colour of the data set where images are normalised, and multiplication as in the paper.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images a forward: bounds the memory and changes nothing else.

    Returns:
        Both values of each sample. NaN for a map that is nowhere above zero, and where Y is zero.

    Raises:
        ValueError: if maps or classes do not fit the images, or the model is in training mode.

    Example:
        >>> model = nn.Flatten().eval()  # a pixel is its own logit
        >>> images, maps = torch.tensor([[[[0.0, 1]]]]).log1p(), torch.tensor([[[0.0, 5]], [[5, 0]]])
        >>> average_drop(model, images.expand(2, -1, -1, -1), maps, torch.tensor([1, 1])).drop
        tensor([ 0.0000, 25.0000], dtype=torch.float64)

    """
    check_samples(images, maps, classes)
    shown = normalize_maps(at_resolution(maps, (images.shape[-2], images.shape[-1])).relu())  # (N, H, W)
    over = shown.to(images.dtype).unsqueeze(1)
    both = torch.stack([images, over * images + (1 - over) * baseline])
    before, after = class_probabilities(
        model, classes, lambda sample, step: both[step, sample], 2, multilabel=multilabel, batch_size=batch_size
    ).T
    defined = (shown.amax((-2, -1)) > 0) & (before > 0)
    drop = (before - after).clamp(min=0) / before
    # Rounding, which differs with the place in a batch, is no increase.
    increase = (after > before * (1 + _ROUNDING)).double()
    return ConfidenceChange(*(torch.where(defined, 100 * found, torch.nan) for found in (drop, increase)))


class AverageDrop(Grouped):
    """Average drop and increase in confidence in percent, updated with (images, maps, classes).

    The result's `overall` is (2,), the average drop and the share of samples whose confidence increases; a grouping's
    is (K, 2).

    Args:
        model: see `average_drop`; it is not part of the metric's state, and stays on its device.
        baseline: pixels where a map is zero.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images a forward.
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(
        self,
        model: nn.Module,
        baseline: float | Tensor = 0.0,
        multilabel: bool = False,
        batch_size: int = 64,
        groups: Mapping[str, int] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        measure = partial(_stacked, model, baseline=baseline, multilabel=multilabel, batch_size=batch_size)
        super().__init__(measure, groups, shape=(2,), **options)


def _stacked(model: nn.Module, *inputs: Tensor, **settings: Unpack[Options]) -> Tensor:
    return torch.stack(average_drop(model, *inputs, **settings), 1)  # (N, 2)
