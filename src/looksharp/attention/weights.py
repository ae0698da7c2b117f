"""Attention weights, kept while a network runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.nn import functional as F

from looksharp.attention.precision import at_least_float32
from looksharp.attention.replaced import ReplacedFunctions, Replacements
from looksharp.attention.unfused import attention_weights, multi_head_with_weights

__all__ = ["AttentionWeights", "Weights", "weight_gradients"]


@dataclass(frozen=True)
class Weights:
    """Attention weights of one call.

    Attributes:
        values: (B, heads, queries, keys); each query's sum to 1.
        edge: place in the graph at which to differentiate by `values`; None outside of a graph.

    """

    values: Tensor
    edge: GradientEdge | None

    def plain(self) -> Tensor:
        """Return the values without a graph, in float32 or float64."""
        return at_least_float32(self.values.detach())


class AttentionWeights(ReplacedFunctions):
    """Keep the weights of every attention that this thread computes inside the context, in order.

    Recorded are `scaled_dot_product_attention` and `multi_head_attention_forward`, which are computed by matrix
    products, and a softmax over the last dimension of (B, heads, queries, keys), as unfused attention takes it.
    Functions of torch are as before once the context ends.

    Args:
        noticed: called with the weights of each attention, once they are kept.

    Attributes:
        found: weights of each call so far.

    Example:
        >>> query = torch.rand(1, 2, 4, 8)
        >>> with AttentionWeights() as weights:
        ...     attended = F.scaled_dot_product_attention(query, query, query)
        >>> torch.testing.assert_close(weights.found[0].values @ query, attended)

    """

    def __init__(self, noticed: Callable[[Weights], object] = lambda _: None) -> None:
        # Its methods stand in the replacements, and not those of the context, which would hold on to itself.
        keeper = _Keeper([], noticed)
        replacements: Replacements = {
            F.scaled_dot_product_attention: keeper.attention,
            F.multi_head_attention_forward: keeper.multi_head,
            F.softmax: partial(keeper.softmax, F.softmax),
            torch.softmax: partial(keeper.softmax, torch.softmax),
            Tensor.softmax: partial(keeper.softmax, Tensor.softmax),
        }
        super().__init__(replacements, lambda: True)
        self.found = keeper.found


@dataclass(frozen=True)
class _Keeper:
    found: list[Weights]
    noticed: Callable[[Weights], object]

    def keep(self, values: Tensor, edge: GradientEdge | None) -> None:
        self.found.append(Weights(values, edge))
        self.noticed(self.found[-1])

    def kept(self, values: Tensor) -> Tensor:
        """Keep weights and return the same, which start a graph where one is wanted and they carry none."""
        if torch.is_grad_enabled() and not values.requires_grad:
            values = values.detach().requires_grad_()  # of constant queries and keys
        self.keep(values, get_gradient_edge(values) if values.requires_grad else None)
        return values

    def attention(self, *args: Any, **kwargs: Any) -> Tensor:
        weights, value = attention_weights(*args, **kwargs)
        weights = self.kept(weights)
        with torch.autocast(weights.device.type, enabled=False):
            return weights @ value

    def multi_head(self, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor | None]:
        attended, weights, wanted = multi_head_with_weights(*args, **kwargs)
        # What is returned is a view; the product is taken of what it views.
        before = None if weights.grad_fn is None else weights.grad_fn.next_functions[0]
        edge = None if before is None or before[0] is None else GradientEdge(before[0], before[1])
        self.keep(weights if weights.ndim == 4 else weights[None], edge)
        return attended, wanted

    def softmax(self, softmax: Callable[..., Tensor], scores: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        values = softmax(scores, *args, **kwargs)
        dim = kwargs.get("dim", args[0] if args else None)
        return self.kept(values) if values.ndim == 4 and dim in (-1, 3) else values


def weight_gradients(
    outputs: Tensor | Sequence[Tensor], chosen: Tensor | Sequence[Tensor], weights: Sequence[Weights]
) -> list[Tensor]:
    """Return the derivative of a weighted sum of outputs with respect to each of some attention weights.

    The graph is kept.

    Args:
        outputs: tensors of the graph in which the weights were recorded, such as logits (B, C).
        chosen: the weight of each value in the sum, such as 1 for one class of each image and else 0.
        weights: what was recorded.

    Returns:
        For each, a tensor of the shape of its `values`, in float32 or float64; zeros where no output depends on it.
    """
    edges = [each.edge for each in weights if each.edge is not None]
    found = torch.autograd.grad(outputs, edges, chosen, retain_graph=True, allow_unused=True)
    return [
        at_least_float32(torch.zeros_like(each.values) if gradient is None else gradient.reshape(each.values.shape))
        for each, gradient in zip(weights, found, strict=True)
    ]
