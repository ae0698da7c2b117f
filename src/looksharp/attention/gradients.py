"""Gradients of class scores with respect to recorded maps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from looksharp.attention.precision import LOW_PRECISION
from looksharp.attention.recording import PooledLinearHead, Recording

__all__ = ["map_gradients"]


def map_gradients(
    logits: Tensor,
    features: Recording,
    classes: Tensor,
    contrast: Tensor | None,
    head: PooledLinearHead | None,
    *,
    create_graph: bool,
) -> dict[str, Tensor]:
    """Return layer name -> derivative (B, K, C, h, w) of each class's score with respect to the recorded map.

    Args:
        logits: (B, classes), of the forward that was recorded.
        features: the recording.
        classes: (B, K).
        contrast: weights (B, K, classes) of the logits in each score; a class's own logit if None.
        head: the pooled linear head, whose layer's gradient is its weight; None if there is none.
        create_graph: make the gradients differentiable.

    Raises:
        ValueError: if the logits do not depend on a layer's map.
    """
    gradients: dict[str, Tensor] = {}
    backward = [layer for layer in features if head is None or layer != head.layer]
    if backward:
        inputs = [features[layer] for layer in backward]

        unused: set[str] = set()

        def backpropagate(chosen: Tensor) -> tuple[Tensor, ...]:
            # The graph is kept, because the caller may still train on these logits.
            found = torch.autograd.grad(
                logits, inputs, chosen, retain_graph=True, create_graph=create_graph, allow_unused=True
            )
            unused.update(layer for layer, gradient in zip(backward, found, strict=True) if gradient is None)
            # `vmap` takes tensors only.
            return tuple(
                torch.zeros_like(x) if gradient is None else gradient for x, gradient in zip(inputs, found, strict=True)
            )

        one_hot = F.one_hot(classes, logits.shape[1]) if contrast is None else contrast
        chosen = one_hot.to(logits.dtype)  # (B, K, classes)
        # In mixed precision normalisation layers have no rule for `vmap`: then class by class.
        batched = classes.shape[1] > 1 and not any(x.dtype in LOW_PRECISION for x in (logits, *inputs))
        if batched:
            found = vmap(backpropagate, 1, 1)(chosen)
        else:
            each = [backpropagate(one_class) for one_class in chosen.unbind(1)]
            found = tuple(torch.stack(gradients, 1) for gradients in zip(*each, strict=True))
        for layer, gradient in zip(backward, found, strict=True):
            # Behind prefix tokens a map can be connected to the logits and yet never be read.
            unread = layer in features.behind_prefix and not gradient.any() and not _head_is_zero(features)
            if layer in unused or unread:
                raise ValueError(
                    f"layer {layer!r} got no gradient: the logits do not depend on its map. In a network that "
                    f"classifies by a class token, record a layer before the last block's attention"
                )
            gradients[layer] = gradient
    if head is not None:
        features_of_head = features[head.layer]
        height, width = features_of_head.shape[-2:]
        weight = head.linear.weight  # (classes, C)
        weight = weight[classes] if contrast is None else contrast.to(weight.dtype) @ weight  # (B, K, C)
        weight = weight / (height * width)
        gradients[head.layer] = weight[..., None, None].expand(*weight.shape, height, width)
    return {layer: gradients[layer] for layer in features}


def _head_is_zero(features: Recording) -> bool:
    """Return True if the classifier is still all zeros, as some networks start: it then reads nothing at all."""
    return features.last_linear is not None and not features.last_linear[0].weight.any()
