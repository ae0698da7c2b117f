"""Insertion and deletion: test whether a class's probability follows the order of its map."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple, TypedDict, Unpack

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from looksharp.metrics.faithfulness.perturbation import (
    check_samples,
    class_probabilities,
    pixel_ranks,
    removal_counts,
)
from looksharp.metrics.grouped import Grouped, MetricOptions

__all__ = ["Curve", "Deletion", "Insertion", "deletion", "deletion_curve", "insertion", "insertion_curve"]

Baseline = Literal["blur", "mean", "zero"]


class Options(TypedDict, total=False):
    """Options of `insertion` and `deletion`; see there."""

    steps: int
    baseline: Baseline | Tensor
    multilabel: bool
    batch_size: int


class Curve(NamedTuple):
    """A class's probability against the share of pixels that was inserted or removed.

    Attributes:
        shares: (S + 1,) from 0 to 1.
        probabilities: (N, S + 1), float64; NaN for a map that ranks nothing.
    """

    shares: Tensor
    probabilities: Tensor

    def area(self) -> Tensor:
        """Return the area under each curve (N,), by trapezoids: in [0, 1]."""
        return torch.trapezoid(self.probabilities, self.shares)


def insertion_curve(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int = 50,
    baseline: Baseline | Tensor = "blur",
    multilabel: bool = False,
    batch_size: int = 64,
) -> Curve:
    """Compute probabilities while the most attended pixels are inserted into a baseline until the image is whole.

    Petsiuk et al. 2018, "RISE"; see `insertion`.
    """
    check_samples(images, maps, classes)
    return _curve(model, _baseline(baseline, images), images, maps, classes, steps, multilabel, batch_size)


def deletion_curve(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int = 50,
    baseline: Baseline | Tensor = "zero",
    multilabel: bool = False,
    batch_size: int = 64,
) -> Curve:
    """Compute probabilities while a baseline replaces the most attended pixels until nothing of the image is left.

    Petsiuk et al. 2018, "RISE"; see `deletion`.
    """
    check_samples(images, maps, classes)
    return _curve(model, images, _baseline(baseline, images), maps, classes, steps, multilabel, batch_size)


def insertion(model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor, **options: Unpack[Options]) -> Tensor:
    """Compute the area under the insertion curve: the higher, the sooner the attended pixels suffice.

    Petsiuk et al. 2018, "RISE", and the authors' code: pixels in the order of the map, as many in each step up to
    rounding, inserted into the blurred image (11 pixels, standard deviation 5); area by trapezoids.

    The authors' code differs: it follows the most probable class, pads the blur with zeros (here the border is
    reflected), and orders pixels of equal value as its sort leaves them (see `pixel_ranks`).

    Cost: `steps` + 1 forwards of the model for each image.

    Args:
        model: any classifier, in eval mode.
        images: (N, C, H, W), as the model expects them.
        maps: (N, h, w), raw, at any scale; resized bilinearly to the images. May be signed.
        classes: (N,) the class that each map explains.
        options: `steps`, 50; `baseline`, "blur", "mean" (each channel's mean in the image), "zero" (the mean colour of
            the data set, where images are normalised) or a tensor that broadcasts to the images; `multilabel`, for
            probabilities from a sigmoid, not a softmax; `batch_size`, 64 images a forward, which bounds the memory
            and changes nothing else.

    Returns:
        (N,) in [0, 1], float64; NaN for a map that is the same everywhere, zero or not: it ranks nothing.

    Raises:
        ValueError: if maps or classes do not fit the images, the model is in training mode, steps are not 1 to the
            number of pixels, the baseline is unknown, or images are too small to blur.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False)).eval()
        >>> _ = nn.init.ones_(model[1].weight)  # a sum of pixels
        >>> image, least = torch.tensor([[[[9.0, 0], [0, 0]]]]), torch.tensor([[[0.0, 1], [2, 3]]])
        >>> options = Options(steps=4, baseline="zero", multilabel=True)
        >>> for maps in (image[0], least):
        ...     print(insertion(model, image, maps, torch.tensor([0]), **options))
        tensor([0.9374], dtype=torch.float64)
        tensor([0.5625], dtype=torch.float64)

    """
    return insertion_curve(model, images, maps, classes, **options).area()


def deletion(model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor, **options: Unpack[Options]) -> Tensor:
    """Compute the area under the deletion curve: the lower, the sooner the class is lost without them.

    Petsiuk et al. 2018, "RISE"; as `insertion`, but pixels are replaced by the baseline, "zero" if not given.

    Cost: `steps` + 1 forwards of the model for each image.

    Returns:
        (N,) in [0, 1], float64; NaN for a map that is the same everywhere.
    """
    return deletion_curve(model, images, maps, classes, **options).area()


def _curve(
    model: nn.Module,
    before: Tensor,
    after: Tensor,
    maps: Tensor,
    classes: Tensor,
    steps: int,
    multilabel: bool,
    batch_size: int,
) -> Curve:
    """Compute probabilities while the pixels of `before` turn to those of `after`, (N, C, H, W) each."""
    size = before.shape[-2], before.shape[-1]
    pixels = size[0] * size[1]
    if not 1 <= steps <= pixels:
        raise ValueError(f"steps must be 1 to the number of pixels, {pixels}; got {steps}")
    ranks, ranking = pixel_ranks(maps, size)
    counts = removal_counts(torch.linspace(0, 1, steps + 1, dtype=torch.float64, device=maps.device), pixels)

    def perturb(sample: Tensor, step: Tensor) -> Tensor:
        turned = ranks[sample] < counts[step].view(-1, 1, 1)
        return torch.where(turned.unsqueeze(1), after[sample], before[sample])

    found = class_probabilities(model, classes, perturb, steps + 1, multilabel=multilabel, batch_size=batch_size)
    return Curve(counts / pixels, torch.where(ranking.unsqueeze(1), found, torch.nan))


def _baseline(baseline: Baseline | Tensor, images: Tensor) -> Tensor:
    """Return images (N, C, H, W) without their content."""
    if isinstance(baseline, Tensor):
        return baseline.to(images).expand_as(images)
    if baseline == "blur":
        if min(images.shape[-2:]) < 6:
            raise ValueError(
                f"baseline 'blur' needs images of 6 pixels at least, got {tuple(images.shape[-2:])}: take another"
            )
        return gaussian_blur(images, [11, 11], [5.0, 5.0])
    if baseline == "mean":
        return images.mean((-2, -1), keepdim=True).expand_as(images)
    if baseline == "zero":
        return torch.zeros_like(images)
    raise ValueError(f"baseline must be 'blur', 'mean', 'zero' or a tensor; got {baseline!r}")


class Insertion(Grouped):
    """The mean of `insertion`, updated with (images, maps, classes).

    Args:
        model: see `insertion`; it is not part of the metric's state, and stays on its device.
        steps: number of forwards of the model per image, less one.
        baseline: image into which pixels are inserted.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images a forward.
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int = 50,
        baseline: Baseline | Tensor = "blur",
        multilabel: bool = False,
        batch_size: int = 64,
        groups: Mapping[str, int] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        settings = Options(steps=steps, baseline=baseline, multilabel=multilabel, batch_size=batch_size)
        super().__init__(partial(insertion, model, **settings), groups, **options)


class Deletion(Grouped):
    """The mean of `deletion`, updated with (images, maps, classes).

    Args:
        model: see `insertion`; it is not part of the metric's state, and stays on its device.
        steps: number of forwards of the model per image, less one.
        baseline: image that replaces pixels.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images a forward.
        groups: see `Grouped`.
        options: torchmetrics' own.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: int = 50,
        baseline: Baseline | Tensor = "zero",
        multilabel: bool = False,
        batch_size: int = 64,
        groups: Mapping[str, int] | None = None,
        **options: Unpack[MetricOptions],
    ) -> None:
        settings = Options(steps=steps, baseline=baseline, multilabel=multilabel, batch_size=batch_size)
        super().__init__(partial(deletion, model, **settings), groups, **options)
