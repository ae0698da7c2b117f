"""Perturb images by their maps: the order of pixels, and the probabilities of perturbed images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from looksharp.attention.recording import logits_of, unwrapped
from looksharp.metrics.scores import at_resolution

__all__ = ["check_samples", "class_probabilities", "pixel_ranks", "removal_counts"]


def check_samples(images: Tensor, maps: Tensor, classes: Tensor) -> None:
    """Raise a ValueError if there is not one map and one class for each image."""
    samples = len(images)
    if images.ndim != 4 or maps.ndim != 3 or len(maps) != samples:
        raise ValueError(
            f"maps must be one for each image, images (N, C, H, W) and maps (N, h, w); "
            f"got images {tuple(images.shape)} and maps {tuple(maps.shape)}"
        )
    if classes.shape != (samples,) or classes.is_floating_point() or classes.dtype == torch.bool:
        raise ValueError(
            f"classes must be the index of one class for each of {samples} images, shape ({samples},); got "
            f"{str(classes.dtype).removeprefix('torch.')} of shape {tuple(classes.shape)}: repeat an image for several"
        )


def pixel_ranks(maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Rank each pixel by attention, from one sort of the map at the image's resolution.

    Pixels of equal value, as where a map is zero, are ordered by a fixed random permutation, the same for all images:
    reading order would favour the top of the image.

    Args:
        maps: (N, h, w), raw, at any scale; may be signed.
        size: height and width of the images.

    Returns:
        ranks (N, H, W), 0 for the most attended pixel, int64; and (N,) bool, False for a map that ranks
        nothing: one that is the same everywhere, zero or not, or not finite.

    Example:
        >>> ranks, ranking = pixel_ranks(torch.tensor([[[0.0, 9], [5, 2]], [[0, 0], [0, 0]]]), (2, 2))
        >>> ranks[0], ranking
        (tensor([[3, 0],
                [1, 2]]), tensor([ True, False]))

    """
    scores = at_resolution(maps, size).flatten(1)  # (N, P)
    shuffled = torch.randperm(scores.shape[1], generator=torch.Generator().manual_seed(0)).to(maps.device)
    order = shuffled[scores[:, shuffled].argsort(stable=True, descending=True)]
    places = torch.arange(scores.shape[1], device=maps.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(1, order, places)
    low, high = scores.amin(1), scores.amax(1)
    return ranks.view(-1, *size), (high > low) & (high - low).isfinite()


def removal_counts(shares: Tensor, pixels: int) -> Tensor:
    """Return how many of `pixels` each share is, to the nearest."""
    return (shares.double() * pixels).round().long()


@torch.no_grad()
def class_probabilities(
    model: nn.Module,
    classes: Tensor,
    perturb: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    *,
    multilabel: bool,
    batch_size: int,
) -> Tensor:
    """Compute probabilities of each sample's class at every step of its perturbation.

    Args:
        model: any classifier, in eval mode.
        classes: (N,).
        perturb: function from samples (B,) and steps (B,) to images (B, C, H, W); samples of one step are adjacent.
        steps: number of steps of every sample.
        multilabel: probabilities from a sigmoid, not a softmax.
        batch_size: images a forward; changes nothing but speed and memory.

    Returns:
        (N, steps) in [0, 1], float64.

    Raises:
        ValueError: if the model is in training mode, a class is not one of the model's, or `batch_size` is below 1.
    """
    network = unwrapped(model)  # a wrapper for data parallelism would wait for processes that have fewer images
    if network.training:
        raise ValueError(
            "model must be in eval mode: in training mode its probabilities depend on the batch; call model.eval()"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size must be the number of images a forward, at least 1; got {batch_size}")
    samples = len(classes)
    found = torch.empty(steps * samples, dtype=torch.float64, device=classes.device)
    ends = [int(end) for end in classes.aminmax()] if samples else []
    for start in range(0, len(found), batch_size):
        index = torch.arange(start, min(start + batch_size, len(found)), device=classes.device)
        sample = index % samples
        logits = logits_of(network(perturb(sample, index // samples))).double()
        if not 0 <= ends[0] <= ends[1] < logits.shape[1]:
            raise ValueError(
                f"classes must lie in 0 to {logits.shape[1] - 1} for {logits.shape[1]} logits; "
                f"got {ends[0]} to {ends[1]}"
            )
        probabilities = logits.sigmoid() if multilabel else logits.softmax(1)
        found[index] = probabilities.gather(1, classes[sample].unsqueeze(1)).squeeze(1)
    return found.view(steps, samples).T
