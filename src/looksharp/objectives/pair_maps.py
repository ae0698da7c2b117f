"""Maps of chosen (image, class) pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.attention.attend import attention_maps
from looksharp.attention.mechanisms import Mechanism
from looksharp.objectives.base import Forward

__all__ = ["pair_maps", "true_classes"]


def true_classes(targets: Tensor, *, sampled: bool = False) -> tuple[Tensor, Tensor]:
    """Return all (image, class) pairs of a batch's true classes, or one per image at random.

    Args:
        targets: class indices (B,), or multi-hot (B, C).
        sampled: draw one true class per image.

    Returns:
        samples (P,) in rising order, classes (P,). Images without a true class have no pair.
    """
    if targets.ndim == 1:
        return torch.arange(len(targets), device=targets.device), targets
    present = targets > 0.5
    if sampled:
        images = present.any(1).nonzero().squeeze(1)
        return images, torch.multinomial(present[images].float(), 1).squeeze(1) if len(images) else images
    samples, classes = present.nonzero(as_tuple=True)
    return samples, classes


def pair_maps(
    forward: Forward,
    layer: str,
    samples: Tensor,
    classes: Tensor,
    mechanism: str | Mechanism,
    *,
    signed: bool = False,
    most: int | None = None,
) -> Tensor:
    """Make the maps (P, h, w) of P (image, class) pairs, by one batched backward.

    Args:
        forward: the forward whose layer was recorded.
        layer: its name.
        samples: (P,) the pairs' images, in rising order.
        classes: (P,) the pairs' classes.
        mechanism: a name from `MECHANISMS`, or a function.
        signed: return the maps before their ReLU.
        most: largest number of pairs in one image, if known; the CPU then need not wait for the device.
    """
    first = torch.searchsorted(samples, samples)  # where each pair's image begins
    rank = torch.arange(len(samples), device=samples.device) - first
    grid = classes.new_zeros(len(forward.batch), int(rank.max()) + 1 if most is None else most)
    grid[samples, rank] = classes
    maps = attention_maps(
        forward.output,
        forward.features.restricted([layer]),
        grid,
        mechanism,
        create_graph=forward.differentiable,
        signed=signed,
    )
    return maps[layer][samples, rank]
