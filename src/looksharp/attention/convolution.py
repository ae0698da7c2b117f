"""Convolution whose second derivative is as cheap as its first.

PyTorch writes the weight's share of a convolution's second derivative as a convolution with the batch in the place of
the channels, which takes several times as long as a weight gradient. But a convolution, its image gradient and its
weight gradient are bilinear, and the derivatives of each are the other two: three small functions close the circle on
the ordinary kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.autograd.graph import Node

from looksharp.attention.engine import is_wanted

__all__ = ["conv2d"]


class _Settings(NamedTuple):
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    image_shape: torch.Size  # without the batch
    weight_shape: torch.Size
    memory_format: torch.memory_format  # of the image


class _Context(Protocol):
    """The parts of autograd's context that a bilinear function uses."""

    settings: _Settings
    saved_tensors: tuple[Tensor, Tensor]
    next_functions: tuple[tuple[Node | None, int], ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _BatchInfo(Protocol):
    """The part of `vmap`'s description of a batch that folding uses."""

    batch_size: int


_Dims = tuple[int | None, ...]
"""Place of the mapped dimension in each argument; None for one that is not mapped."""


class _Bilinear(torch.autograd.Function):
    """Base of the three: saves both factors for the backward."""

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Tensor, Tensor, _Settings], output: Tensor) -> None:
        first, second, ctx.settings = inputs
        ctx.save_for_backward(first, second)


class _Convolve(_Bilinear):
    """image (B, C, H, W), weight -> output (B, D, h, w)."""

    @staticmethod
    def forward(image: Tensor, weight: Tensor, settings: _Settings) -> Tensor:
        return torch.ops.aten.convolution(image, weight, None, *settings[:3], False, [0, 0], settings.groups)

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        image, weight = ctx.saved_tensors
        wanted = [is_wanted(ctx, 0), is_wanted(ctx, 1)]
        if not torch.is_grad_enabled():  # no derivative will be asked of these: one kernel for both
            return *_convolution_backward(grad, image, weight, ctx.settings, wanted), None
        to_image = _ImageGradient.apply(grad, weight, ctx.settings) if wanted[0] else None
        to_weight = _WeightGradient.apply(grad, image, ctx.settings) if wanted[1] else None
        return to_image, to_weight, None

    @staticmethod
    def vmap(info: _BatchInfo, dims: _Dims, first: Tensor, second: Tensor, settings: _Settings) -> tuple[Tensor, int]:
        return _fold(_Convolve, info.batch_size, dims, first, second, settings)


class _ImageGradient(_Bilinear):
    """grad (B, D, h, w), weight -> gradient of the image (B, C, H, W)."""

    @staticmethod
    def forward(grad: Tensor, weight: Tensor, settings: _Settings) -> Tensor:
        shape = (len(grad), *settings.image_shape)
        # All that is read is its shape and how it lies in memory, which the gradient takes over.
        image = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=settings.memory_format)
        return _convolution_backward(grad, image, weight, settings, [True, False])[0]

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        output_grad, weight = ctx.saved_tensors
        to_grad = _Convolve.apply(grad, weight, ctx.settings) if is_wanted(ctx, 0) else None
        to_weight = _WeightGradient.apply(output_grad, grad, ctx.settings) if is_wanted(ctx, 1) else None
        return to_grad, to_weight, None

    @staticmethod
    def vmap(info: _BatchInfo, dims: _Dims, first: Tensor, second: Tensor, settings: _Settings) -> tuple[Tensor, int]:
        return _fold(_ImageGradient, info.batch_size, dims, first, second, settings)


class _WeightGradient(_Bilinear):
    """grad (B, D, h, w), image (B, C, H, W) -> gradient of the weight."""

    @staticmethod
    def forward(grad: Tensor, image: Tensor, settings: _Settings) -> Tensor:
        weight = grad.new_empty(()).expand(settings.weight_shape)
        return _convolution_backward(grad, image, weight, settings, [False, True])[1]

    @staticmethod
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        output_grad, image = ctx.saved_tensors
        to_grad = _Convolve.apply(image, grad, ctx.settings) if is_wanted(ctx, 0) else None
        to_image = _ImageGradient.apply(output_grad, grad, ctx.settings) if is_wanted(ctx, 1) else None
        return to_grad, to_image, None


def _convolution_backward(
    grad: Tensor, image: Tensor, weight: Tensor, settings: _Settings, wanted: list[bool]
) -> tuple[Tensor, Tensor]:
    """Compute the gradients of the image and of the weight; None for one that is not wanted."""
    return torch.ops.aten.convolution_backward(
        grad, image, weight, None, *settings[:3], False, [0, 0], settings.groups, [*wanted, False]
    )[:2]


def _fold(
    function: type[_Bilinear],
    size: int,
    dims: _Dims,
    first: Tensor,
    weight: Tensor,
    settings: _Settings,
) -> tuple[Tensor, int]:
    """Run one call for K batches (K, B, ...) of first factors: K and B together are a convolution's batch."""
    if dims[0] is None or dims[1] is not None:
        raise RuntimeError("a batch of weights cannot be folded into one convolution")
    output = function.apply(first.movedim(dims[0], 0).flatten(0, 1), weight, settings)
    return output.unflatten(0, (size, -1)), 0


def conv2d(*args: Any, **kwargs: Any) -> Tensor:
    """Do as `torch.nn.functional.conv2d` does, with a bias, a stride and so on by place."""
    return torch.conv2d(*args, **kwargs) if kwargs else _convolve(*args)


def _convolve(
    image: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or image.ndim != 4:
        return torch.conv2d(image, weight, bias, stride, padding, dilation, groups)
    device = image.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        # As torch does it, float64 is left alone.
        image, weight = (x if x.dtype == torch.float64 else x.to(dtype) for x in (image, weight))
    channels_last = image.is_contiguous(memory_format=torch.channels_last)
    settings = _Settings(
        _pair(stride),
        _pair(padding),
        _pair(dilation),
        groups,
        image.shape[1:],
        weight.shape,
        torch.channels_last if channels_last else torch.contiguous_format,
    )
    output: Tensor = _Convolve.apply(image, weight, settings)
    return output if bias is None else output + bias.to(output.dtype)[:, None, None]


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))
