"""Gradients of class scores with respect to the input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import logits_of
from looksharp.attention.rerun import advanced, evaluating
from looksharp.attention.threads import lock_of

__all__ = ["input_gradients"]


def input_gradients(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """Differentiate the logits of K classes per image with respect to its pixels, by one forward and K backwards.

    No parameter's `.grad` is touched; works inside `torch.no_grad` and `torch.inference_mode`.

    Args:
        model: a classifier in evaluation mode.
        images: (N, C, H, W).
        classes: (N, K).

    Returns:
        Gradients (N, K, C, H, W), float32 or float64.

    Raises:
        ValueError: if the model is in training mode.
    """
    with lock_of(evaluating(model)), torch.inference_mode(False), torch.enable_grad():
        entry = images.detach().clone().requires_grad_()
        scores = logits_of(model(entry)).gather(1, classes.clone()).sum(0)  # (K,)
        last = len(scores) - 1
        found = [torch.autograd.grad(score, entry, retain_graph=place < last)[0] for place, score in enumerate(scores)]
    advanced(len(images) * (1 + 2 * len(scores)))
    return at_least_float32(torch.stack(found, 1))
