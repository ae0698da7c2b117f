"""Batch normalisation whose second derivative is as cheap as its first.

Torch composes that derivative of some twenty passes over the maps. But the gradient of the input is a projection, and a
projection is its own transpose, so that the kernel of the gradient computes most of the gradient's derivative too. With
N values in a channel, xhat the normalised input, sigma its deviation, gamma the weight and g the output's gradient:

    P g = g - mean(g) - xhat mean(g xhat)
    gradient of the input: dx = gamma / sigma P g

With v the gradient of dx, and S = sum(v P g):

    gradient of g: dg = gamma / sigma P v
    gradient of gamma: S / sigma
    gradient of the input: -(mean(v xhat) dx + mean(g xhat) dg + gamma / sigma S / N xhat) / sigma
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import Node
from torch.nn import functional as F

from looksharp.attention.engine import is_wanted

__all__ = ["batch_norm"]


class _Context(Protocol):
    """The parts of autograd's context that both functions use."""

    affine: tuple[bool, bool]  # whether there are a weight and a bias
    eps: float
    saved_tensors: tuple[Tensor, ...]
    next_functions: tuple[tuple[Node | None, int], ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...
    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


_Three = tuple[Tensor, Tensor, Tensor]


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Do as `torch.nn.functional.batch_norm` does; on a processor, with the batch's statistics, as above."""
    values = input.numel() // input.shape[1] if input.ndim > 1 and input.numel() else 0
    # With the network's own statistics it is linear, and cheap as it is. On an accelerator it was not measured.
    if not training or input.device.type != "cpu" or values < 2:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    output: Tensor = _Normalize.apply(input, weight, bias, running_mean, running_var, momentum, eps)[0]
    return output


class _Normalize(torch.autograd.Function):
    """input (B, C, ...), weight, bias -> output, and the batch's means and inverse deviations (C)."""

    @staticmethod
    def forward(
        input: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        momentum: float,
        eps: float,
    ) -> _Three:
        found: _Three = torch.ops.aten.native_batch_norm(
            input, weight, bias, running_mean, running_var, True, momentum, eps
        )
        return found

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Any, ...], output: _Three) -> None:
        input, weight, bias, *_, ctx.eps = inputs
        ctx.affine = weight is not None, bias is not None
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(input, weight, *output[1:])

    @staticmethod
    def backward(ctx: _Context, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        input, weight, mean, inverse = ctx.saved_tensors
        weighted, biased = ctx.affine
        if not torch.is_grad_enabled():
            to_input, to_weight, to_bias = _gradients(grad, input, weight, mean, inverse, ctx.eps)
            return to_input, to_weight if weighted else None, to_bias if biased else None, None, None, None, None
        to_input = _InputGradient.apply(grad, input, weight, mean, inverse, ctx.eps)[0]
        parameters: list[Tensor | None] = [None, None]
        # The parameters' gradients are rarely differentiated: that is left to torch.
        if weighted and is_wanted(ctx, 1):
            normalized = F.batch_norm(input, None, None, training=True, eps=ctx.eps)
            parameters[0] = (grad * normalized).sum(_axes(input))
        if biased and is_wanted(ctx, 1 + weighted):
            parameters[1] = grad.sum(_axes(input))
        return to_input, *parameters, None, None, None, None


class _InputGradient(torch.autograd.Function):
    """grad (B, C, ...), input (B, C, ...), weight -> gradient of the input, and what the kernel gives beside it."""

    @staticmethod
    def forward(
        grad: Tensor, input: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, eps: float
    ) -> _Three:
        return _gradients(grad, input, weight, mean, inverse, eps)

    @staticmethod
    def setup_context(ctx: _Context, inputs: tuple[Any, ...], output: _Three) -> None:
        *tensors, ctx.eps = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(*tensors, *output)

    @staticmethod
    @once_differentiable  # as torch's
    def backward(ctx: _Context, above: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        grad, input, weight, mean, inverse, to_input, grad_xhat, grad_sum = ctx.saved_tensors
        count = input.numel() // input.shape[1]
        to_grad, above_xhat, above_sum = _gradients(above, input, weight, mean, inverse, ctx.eps)
        product = (above * grad).sum(_axes(input), dtype=inverse.dtype)
        product = (product - (grad_sum * above_sum + grad_xhat * above_xhat) / count) * inverse

        def spread(values: Tensor) -> Tensor:
            return values.to(input.dtype).view(-1, *[1] * (input.ndim - 2))

        slope = product * inverse.square() / count * (1 if weight is None else weight)
        second = torch.addcmul(spread(slope * mean), input, spread(-slope))
        second = second.addcmul_(to_input, spread(-above_xhat * inverse / count))
        second = second.addcmul_(to_grad, spread(-grad_xhat * inverse / count))
        return to_grad, second, None if weight is None else product.to(weight.dtype), None, None, None

    @staticmethod
    def vmap(_: object, dims: tuple[int | None, ...], grad: Tensor, *others: Any) -> tuple[_Three, tuple[int, ...]]:
        """Take the gradients of several classes one by one: each is a projection of its own."""
        if dims[0] is None or any(dim is not None for dim in dims[1:]):
            raise RuntimeError("only the gradients of one normalisation can be batched")
        each = [_InputGradient.apply(one, *others) for one in grad.unbind(dims[0])]
        to_input, to_weight, to_bias = zip(*each, strict=True)
        joined = torch.cat(to_input).unflatten(0, (len(each), -1))  # lies in memory as they do; stacked, it would not
        return (joined, torch.stack(to_weight), torch.stack(to_bias)), (0, 0, 0)


def _axes(input: Tensor) -> list[int]:
    return [axis for axis in range(input.ndim) if axis != 1]


def _gradients(grad: Tensor, input: Tensor, weight: Tensor | None, mean: Tensor, inverse: Tensor, eps: float) -> _Three:
    """Compute the gradients of the input, the weight and the bias in one kernel."""
    found: _Three = torch.ops.aten.native_batch_norm_backward(
        grad, input, weight, None, None, mean, inverse, True, eps, [True, True, True]
    )
    return found
