"""ROAD: remove pixels in the order of the map, or against it, by imputation that leaves no trace of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor, nn

from looksharp.metrics.faithfulness.imputation import noisy_linear_imputation
from looksharp.metrics.faithfulness.perturbation import (
    check_samples,
    class_probabilities,
    pixel_ranks,
    removal_counts,
)
from looksharp.metrics.grouped import Grouped, MetricOptions

__all__ = ["Road", "RoadCurves", "road"]

_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class Options(TypedDict, total=False):
    """Options of `road`; see there."""

    shares: Sequence[float]
    noise: float
    tolerance: float
    seed: int
    multilabel: bool
    batch_size: int


class RoadCurves(NamedTuple):
    """Curves that `road` found: float64; NaN for a map that ranks nothing.

    Attributes:
        most: (N, S) probabilities of the class once the most attended pixels are removed, MoRF: the lower, the better.
        least: (N, S) once the least attended pixels are removed, LeRF: the higher, the better.
    """

    most: Tensor
    least: Tensor

    def combined(self) -> Tensor:
        """Return (LeRF - MoRF) / 2, each averaged over the shares: (N,) in [-1/2, 1/2], the higher, the better."""
        return (self.least.mean(-1) - self.most.mean(-1)) / 2


def road(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    shares: Sequence[float] = _SHARES,
    noise: float = 0.01,
    tolerance: float = 1e-3,
    seed: int = 0,
    multilabel: bool = False,
    batch_size: int = 64,
) -> RoadCurves:
    """Compute probabilities of a class where shares of the pixels are removed, the most or the least attended first.

    Rong et al. 2022, "A Consistent and Efficient Evaluation Strategy for Attribution Methods"; the paper measures the
    accuracy of the model. `RoadCurves.combined` is pytorch-grad-cam's `ROADCombined`, with these differences. Its
    percentile p removes the share 1 - p / 100 with all pixels that equal the last one; here a number of pixels is
    removed, rounded to the nearest (see `pixel_ranks` for ties). Its two curves are differences from the probability
    for the whole image, which the combination cancels. Its scores may be logits. Its noise differs with each call.

    Cost: two forwards of the model, and two linear systems, per image and share.

    Args:
        model: any classifier, in eval mode.
        images: (N, C, H, W), as the model expects them.
        maps: (N, h, w), raw, at any scale; resized bilinearly to the images. May be signed.
        classes: (N,) the class that each map explains.
        shares: shares of the pixels to remove, above 0 and below 1.
        noise: noise of the imputation; see `noisy_linear_imputation`.
        tolerance: tolerance of the imputation.
        seed: seed of the noise.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images that are imputed and put through the model at once: bounds the memory and changes nothing
            else.

    Returns:
        Both curves. NaN for a map that is the same everywhere, zero or not: it ranks nothing.

    Raises:
        ValueError: if maps or classes do not fit the images, the model is in training mode, or a share removes no
            pixel or all of them.
    """
    check_samples(images, maps, classes)
    size = images.shape[-2], images.shape[-1]
    pixels = size[0] * size[1]
    ranks, ranking = pixel_ranks(maps, size)
    counts = removal_counts(torch.tensor(shares, dtype=torch.float64, device=maps.device), pixels)
    if not len(shares) or not 0 < counts.min() <= counts.max() < pixels:
        raise ValueError(
            f"shares must be of the pixels to remove, some and not all of {pixels}; "
            f"got {', '.join(map(str, shares)) or 'none'}"
        )
    # Where nothing is ranked the outcome is not used: one pixel gone costs least.

    def perturb(sample: Tensor, step: Tensor) -> Tensor:
        least, count = step % 2 == 1, counts[step // 2]
        place = torch.where(least.view(-1, 1, 1), pixels - 1 - ranks[sample], ranks[sample])
        removed = place < count.view(-1, 1, 1)
        return noisy_linear_imputation(images[sample], removed, noise=noise, tolerance=tolerance, seed=seed)

    steps = 2 * len(shares)
    found = class_probabilities(model, classes, perturb, steps, multilabel=multilabel, batch_size=batch_size)
    curves = torch.where(ranking.unsqueeze(1), found, torch.nan).unflatten(1, (-1, 2))  # (N, S, 2)
    return RoadCurves(curves[..., 0], curves[..., 1])


class Road(Grouped):
    """The mean of `RoadCurves.combined`, updated with (images, maps, classes).

    Args:
        model: see `road`; it is not part of the metric's state, and stays on its device.
        shares: shares of the pixels.
        noise: noise of the imputation.
        tolerance: tolerance of the imputation.
        seed: seed of the noise.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images that are imputed and put through the model at once.
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(
        self,
        model: nn.Module,
        shares: Sequence[float] = _SHARES,
        noise: float = 0.01,
        tolerance: float = 1e-3,
        seed: int = 0,
        multilabel: bool = False,
        batch_size: int = 64,
        groups: Mapping[str, int] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        settings = Options(
            shares=shares, noise=noise, tolerance=tolerance, seed=seed, multilabel=multilabel, batch_size=batch_size
        )
        super().__init__(partial(_combined, model, **settings), groups, **options)


def _combined(model: nn.Module, *inputs: Tensor, **settings: Unpack[Options]) -> Tensor:
    return road(model, *inputs, **settings).combined()
