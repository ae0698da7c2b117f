"""Costs of running a network: parameters, operations and time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from looksharp.attention.layout import pair
from looksharp.attention.unfused import UnfusedAttention

__all__ = ["Profile", "accuracy_per_million", "profile", "profile_side_by_side"]


@dataclass(frozen=True)
class Profile:
    """The cost of one image's forward.

    Attributes:
        parameters: number of parameters of the network.
        flops: floating-point operations of matrix products, convolutions and attention; a multiplication and the
            addition that follows it are two, so a paper that counts multiply-adds gives half as many.
        seconds_per_image: median time of a forward, over its batch size.
    """

    parameters: int
    flops: int
    seconds_per_image: float


def profile(model: nn.Module, size: int | tuple[int, int], *, batch_size: int = 1, repeats: int = 10) -> Profile:
    """Count and time forwards of `model` in evaluation mode; modes and buffers are as before afterwards.

    Args:
        model: any classifier of colour images.
        size: (height, width) in pixels, or the side of a square.
        batch_size: images per timed forward; 1 measures a single image's latency.
        repeats: number of timed forwards.

    Raises:
        ValueError: if `batch_size` or `repeats` are below 1.

    Example:
        >>> found = profile(nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.Flatten()), size=8)
        >>> found.parameters, found.flops
        (12, 1536)

    """
    return profile_side_by_side([model], size, batch_size=batch_size, repeats=repeats)[0]


def profile_side_by_side(
    models: Sequence[nn.Module], size: int | tuple[int, int], *, batch_size: int = 1, repeats: int = 10
) -> list[Profile]:
    """Profile several models, whose timed forwards take turns, so that their times can be compared.

    Raises:
        ValueError: if `batch_size` or `repeats` are below 1.
    """
    if batch_size < 1 or repeats < 1:
        raise ValueError(f"batch_size and repeats must be at least 1; got {batch_size} and {repeats}")
    height, width = pair(size)
    modes = [(module, module.training) for model in models for module in model.modules()]
    seconds: list[list[float]] = [[] for _ in models]
    flops = []
    try:
        with torch.no_grad():
            for model in models:
                model.eval()
                # Fused attention is not counted on every device; as matrix products it is.
                with FlopCounterMode(display=False) as counter, UnfusedAttention():
                    model(torch.zeros(1, 3, height, width, device=_device(model)))
                flops.append(counter.get_total_flops())
            for _ in range(repeats + 1):
                for model, times in zip(models, seconds, strict=True):
                    times.append(_seconds(model, torch.zeros(batch_size, 3, height, width, device=_device(model))))
    finally:
        for module, mode in modes:
            module.training = mode
    return [
        # The first forward warms up.
        Profile(sum(p.numel() for p in model.parameters()), counted, statistics.median(times[1:]) / batch_size)
        for model, counted, times in zip(models, flops, seconds, strict=True)
    ]


def _device(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _seconds(model: nn.Module, images: torch.Tensor) -> float:
    _synchronize(images.device)
    started = time.perf_counter()
    model(images)
    _synchronize(images.device)
    return time.perf_counter() - started


def _synchronize(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def accuracy_per_million(
    accuracy: float, parameters: int, base_accuracy: float = 0.0, base_parameters: int = 0
) -> float:
    """Compute the accuracy gained per million parameters added, in percentage points.

    WARN Table 4: for a network by itself, or for one with added modules relative to the network without them.

    Args:
        accuracy: accuracy of the network, in [0, 1].
        parameters: number of its parameters.
        base_accuracy: accuracy of the network that it extends.
        base_parameters: number of that network's parameters.

    Raises:
        ValueError: if no parameters are added.

    Example:
        >>> round(accuracy_per_million(0.896, 68_000_000), 1)  # WRN-50-4 on dogs
        1.3

    """
    if parameters <= base_parameters:
        raise ValueError(f"parameters must be more than base_parameters, {base_parameters}; got {parameters}")
    return 100 * (accuracy - base_accuracy) / ((parameters - base_parameters) / 1e6)
