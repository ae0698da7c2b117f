"""Gradients of class scores with respect to the input."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from looksharp.attention.first_convolution import first_convolution
from looksharp.attention.precision import at_least_float32
from looksharp.attention.recording import logits_of
from looksharp.attention.rerun import advanced, evaluating, images_at_once
from looksharp.attention.threads import lock_of

__all__ = ["copies_gradients", "input_gradients"]


def input_gradients(model: nn.Module, images: Tensor, classes: Tensor, shares: Tensor | None = None) -> Tensor:
    """Differentiate the logits of K classes per image with respect to its pixels, by one forward and K backwards.

    No parameter's `.grad` is touched; works inside `torch.no_grad` and `torch.inference_mode`. Sums of gradients cost
    less than gradients of each image where one convolution reads the images: it then runs back once for each sum.

    Args:
        model: a classifier in evaluation mode.
        images: (N, C, H, W).
        classes: (N, K).
        shares: (G, N), weights of the images in G sums; each image's own gradients if not given.

    Returns:
        Gradients (N, K, C, H, W), or sums of them (G, K, C, H, W); float32 or float64.

    Raises:
        ValueError: if the model is in training mode.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
        >>> images, classes = torch.rand(4, 3, 2, 2), torch.zeros(4, 1, dtype=torch.long)
        >>> mean = input_gradients(net.eval(), images, classes, torch.full((1, 4), 0.25))
        >>> torch.testing.assert_close(mean.flatten(), net[1].weight[0].detach())

    """
    with lock_of(evaluating(model)), torch.inference_mode(False), torch.enable_grad():
        entry = images.detach().clone().requires_grad_()
        logits = logits_of(model(entry))
        scores = logits.gather(1, classes.clone()).sum(0)  # (K,)
        first = None if shares is None else first_convolution(logits, entry)
        where = get_gradient_edge(entry) if first is None else first.edge
        last = len(scores) - 1
        found = []
        for place, score in enumerate(scores):
            (gradient,) = torch.autograd.grad(score, where, retain_graph=place < last)
            with torch.autocast(images.device.type, enabled=False):  # which would sum in half precision
                summed = _summed(at_least_float32(gradient), shares)
                found.append(summed if first is None else first.back(summed))
    advanced(len(images) * (1 + 2 * len(scores)))
    return torch.stack(found, 1)


def copies_gradients(
    model: nn.Module, images: Tensor, classes: Tensor, copies: Callable[[Tensor], Tensor], shares: Tensor
) -> Tensor:
    """Sum the gradients of class scores over changed copies of each image; as many images at once as one forward takes.

    Args:
        model: a classifier in evaluation mode.
        images: (B, C, H, W).
        classes: (B, K).
        copies: makes n copies (b, n, C, H, W) of each of some images, given their places (b,).
        shares: (n,), weights of the copies.

    Returns:
        Sums (B, K, C, H, W), float32 or float64.
    """
    count = len(shares)
    found = []
    for places in torch.arange(len(images), device=images.device).split(max(1, images_at_once(images) // count)):
        own = classes[places].repeat_interleave(count, 0)
        each = torch.eye(len(places), dtype=shares.dtype, device=shares.device)
        found.append(input_gradients(model, copies(places).flatten(0, 1), own, torch.kron(each, shares.unsqueeze(0))))
    return torch.cat(found)


def _summed(gradients: Tensor, shares: Tensor | None) -> Tensor:
    """Return the sums (G, ...) of gradients (N, ...), or the gradients."""
    return gradients if shares is None else torch.tensordot(shares.to(gradients), gradients, 1)
