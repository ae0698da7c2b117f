"""Sanity checks: maps that stay the same while a network's parameters are randomised do not explain it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Literal, NamedTuple, Unpack

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from looksharp.attention.attend import attend
from looksharp.attention.maps import normalize_maps
from looksharp.attention.recording import unwrapped
from looksharp.metrics.agreement import rank_agreement
from looksharp.metrics.grouped import MetricOptions
from looksharp.metrics.scores import at_resolution

__all__ = ["ParameterRandomization", "Similarity", "layer_count", "parameter_randomization", "randomized"]

Explain = Callable[[nn.Module, Tensor, Tensor], Tensor]
Order = Literal["cascading", "independent"]


class Similarity(NamedTuple):
    """Similarity of maps to those of the network before its layers were randomised, by layer.

    Attributes:
        layers: names of the L layers, from the last downwards.
        rank: Spearman's rank correlation in [-1, 1], (N, L), or (L,) for means.
        ssim: structural similarity in [-1, 1], likewise.
        undefined: (2, L) number of values of `rank` and of `ssim` that are NaN and left out of means.
    """

    layers: tuple[str, ...]
    rank: Tensor
    ssim: Tensor
    undefined: Tensor


def _grad_cam(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Compute Grad-CAM at the end of the last stage, (N, h, w)."""
    return next(iter(attend(model, images, classes).maps.values()))[:, 0]


def parameter_randomization(
    model: nn.Module,
    images: Tensor,
    classes: Tensor,
    explain: Explain = _grad_cam,
    *,
    order: Order = "cascading",
    layers: Sequence[str] | None = None,
    steps: int | None = None,
    seed: int = 0,
) -> Similarity:
    """Compare maps before and after parameters are randomised, layer by layer from the last downwards.

    Adebayo et al. 2018, "Sanity Checks for Saliency Maps": a map that explains what the network learned changes with
    its parameters, so that low similarities are good ones. Maps are compared at the image's resolution: by Spearman's
    rank correlation of their values (see `rank_agreement` for equal ones), and by structural similarity (torchmetrics',
    a Gaussian window of 11 pixels) of the maps, each divided by its own largest magnitude.

    Cost: one explanation per image and layer (or step), plus one per image; an explanation by Grad-CAM is a forward
    and at most one backward.

    Args:
        model: any network; it is left as it is.
        images: (N, C, H, W), as the model expects them, at least 11 pixels wide and high.
        classes: (N,) the class that each map explains.
        explain: function from (model, images, classes) to maps (N, h, w), raw and >= 0. It must explain the model
            passed.
        order: "cascading" keeps layers randomised while those below follow, until nothing learned is left;
            "independent" randomises one layer at a time, all others as learned.
        layers: names of modules to randomise, with all modules within. If not given, every module that has parameters
            of its own, from the last registered to the first.
        steps: number of layers to explain after, evenly spaced, the last one included; all if not given.
        seed: seed of the random parameters.

    Returns:
        Values of each sample at each step. NaN where one of the two maps is zero
        everywhere, as after the ReLU of a network that does not know the class; the rank correlation also where one
        is the same everywhere.

    Raises:
        ValueError: if a layer is not in the model or has no parameters, the order is unknown, images are too small, or
            steps are not one to the number of layers.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> net = CifarResNet(depth=20, num_classes=10).eval()
        >>> images, classes = torch.rand(2, 3, 32, 32), torch.tensor([3, 7])
        >>> found = parameter_randomization(net, images, classes, layers=["fc", "layer3"])
        >>> found.layers, found.rank.shape
        (('fc', 'layer3'), torch.Size([2, 2]))

    """
    network = unwrapped(model)
    size = images.shape[-2], images.shape[-1]
    if min(size) < 11:
        raise ValueError(f"images must be 11 pixels wide and high at least, to be compared by windows; got {size}")

    def maps_of(network: nn.Module) -> Tensor:
        return normalize_maps(at_resolution(explain(network, images, classes).detach(), size))  # (N, H, W)

    chosen = set(_steps(len(_check_layers(network, layers)), steps))
    learned = maps_of(deepcopy(network))  # an explanation in training mode would change its statistics
    names, rank, ssim = [], [], []
    for place, (name, changed) in enumerate(randomized(network, layers, order=order, seed=seed), 1):
        if place not in chosen:
            continue
        maps = maps_of(changed)
        names.append(name)
        rank.append(rank_agreement(learned, maps))
        ssim.append(_ssim(learned, maps))
    values = torch.stack(rank, 1), torch.stack(ssim, 1)  # (N, L) each
    return Similarity(tuple(names), *values, torch.stack([found.isnan().sum(0) for found in values]))


def _steps(layers: int, steps: int | None) -> list[int]:
    """Choose the layers, counted from 1, to explain after.

    Raises:
        ValueError: if there are more steps than layers, or none.
    """
    count = layers if steps is None else steps
    if not 1 <= count <= layers:
        raise ValueError(f"steps must be 1 to the number of layers, {layers}; got {steps}")
    return [round(layers * step / count) for step in range(1, count + 1)]


def randomized(
    model: nn.Module, layers: Sequence[str] | None = None, *, order: Order = "cascading", seed: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """Copy the model and randomise the parameters of its layers, one layer after the other.

    Each parameter is drawn anew from a normal distribution with the mean and the standard deviation that it had. The
    paper initialises layers anew; that is impossible for an arbitrary network, and stored statistics of normalisation
    layers, which stay here as all buffers do, would no longer fit. A parameter whose values are all equal, as
    normalisation layers start with, stays too.

    Args:
        model: any network; left as it is.
        layers: see `parameter_randomization`.
        order: "cascading" or "independent".
        seed: seed of the random parameters.

    Yields:
        The layer's name and the copy, which is the same object each time: use it before the next step.

    Raises:
        ValueError: if a layer is not in the model or has no parameters, or the order is unknown.
    """
    if order not in ("cascading", "independent"):
        raise ValueError(f"order must be 'cascading' or 'independent'; got {order!r}")
    network = deepcopy(unwrapped(model))
    names = _check_layers(network, layers)
    generator = torch.Generator().manual_seed(seed)
    for name in names:
        parameters = list(network.get_submodule(name).parameters(recurse=layers is not None))
        learned = [parameter.detach().clone() for parameter in parameters]
        for parameter, values in zip(parameters, learned, strict=True):
            spread, mean = torch.std_mean(values.float(), correction=0)
            noise = torch.randn(values.shape, generator=generator).to(values.device)
            parameter.data.copy_(mean + spread * noise)
        yield name, network
        if order == "independent":
            for parameter, values in zip(parameters, learned, strict=True):
                parameter.data.copy_(values)


def layer_count(model: nn.Module) -> int:
    """Return how many modules of a network have parameters of their own."""
    return sum(any(True for _ in module.parameters(recurse=False)) for module in unwrapped(model).modules())


def _check_layers(model: nn.Module, layers: Sequence[str] | None) -> tuple[str, ...]:
    """Return the layers, or all that have parameters of their own, from the last registered to the first.

    Raises:
        ValueError: if there are none, or one is not in the model or has no parameters.
    """
    modules = dict(model.named_modules())
    if layers is None:
        layers = [name for name, module in reversed(modules.items()) if [*module.parameters(recurse=False)]]
    for name in layers:
        if name not in modules or not [*modules[name].parameters()]:
            lack = "has no parameters" if name in modules else "is not in the model"
            raise ValueError(f"layers must be names of modules with parameters; {name!r} {lack}")
    if not layers:
        raise ValueError("layers must be names of modules with parameters; got none")
    return tuple(layers)


def _ssim(first: Tensor, second: Tensor) -> Tensor:
    """Compute structural similarity of maps (N, H, W) in [0, 1]; NaN if either is zero everywhere."""
    found = structural_similarity_index_measure(
        first.unsqueeze(1), second.unsqueeze(1), data_range=1.0, reduction="none"
    )
    assert isinstance(found, Tensor)  # with the image of similarities it would be a tuple
    return torch.where(first.flatten(1).any(1) & second.flatten(1).any(1), found, torch.nan)


class ParameterRandomization(Metric):
    """Means of `parameter_randomization` by layer, updated with (images, classes).

    Only sums and counts are kept: batches, their order and the number of processes change nothing but rounding in
    float64. A value that is NaN is left out of its own mean only, and counted.

    Args:
        model: see `parameter_randomization`; it is not part of the metric's state, and stays on its device.
        explain: function that makes the maps.
        order: "cascading" or "independent".
        layers: names of modules.
        seed: seed of the random parameters.
        options: torchmetrics' own.

    Raises:
        ValueError: if a layer is not in the model or has no parameters.
    """

    full_state_update = False
    total: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(
        self,
        model: nn.Module,
        explain: Explain = _grad_cam,
        order: Order = "cascading",
        layers: Sequence[str] | None = None,
        seed: int = 0,
        **options: Unpack[MetricOptions],
    ) -> None:
        super().__init__(**options)
        self.layers = _check_layers(unwrapped(model), layers)
        self.measure = partial(parameter_randomization, model, explain=explain, order=order, layers=layers, seed=seed)
        self.add_state("total", torch.zeros(2, len(self.layers), dtype=torch.float64), "sum")
        self.add_state("count", torch.zeros(2, len(self.layers), dtype=torch.int64), "sum")
        self.add_state("undefined", torch.zeros(2, len(self.layers), dtype=torch.int64), "sum")
        # As in `Grouped`: keeps a MetricCollection from taking two for one whose values happen to be equal at first.
        self.add_state("apart", torch.tensor(torch.nan), "sum")

    def update(self, images: Tensor, classes: Tensor) -> None:
        """Measure a batch: images (N, C, H, W) and the classes to explain, (N,)."""
        found = self.measure(images, classes)
        values = torch.stack([found.rank, found.ssim]).double()  # (2, N, L)
        self.total += values.nansum(1)
        self.count += (~values.isnan()).sum(1)
        self.undefined += found.undefined

    def compute(self) -> Similarity:
        """Compute the result over all samples so far, in all processes."""
        rank, ssim = self.total / self.count  # 0 / 0 is NaN
        return Similarity(self.layers, rank, ssim, self.undefined)
