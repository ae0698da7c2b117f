"""Maps of a batch of images, a row per image and map."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from looksharp.attention.finite import check_finite, check_logits
from looksharp.explaining.explain import Asked, class_maps
from looksharp.networks.built_in import built_in_attention
from looksharp.training.folder import Run

__all__ = ["Rows", "batch_rows"]


@dataclass(frozen=True, eq=False)
class Rows:
    """Maps of one layer.

    Attributes:
        layer: the layer's name, or "image" for maps in the input's pixels.
        image: (R,) place in the batch, rising.
        label: (R,) class of the map; of a map that belongs to no class, the highest-scoring one.
        probability: (R,) of that class.
        head: (R,) number of the map among those of its image that belong to no class; -1 for a class's map.
        maps: (R, h, w), raw.
    """

    layer: str
    image: Tensor
    label: Tensor
    probability: Tensor
    head: Tensor
    maps: Tensor


def batch_rows(run: Run, images: Tensor, chosen: list[int] | int, mechanism: str, asked: Asked) -> list[Rows]:
    """Return the maps of a batch, on the CPU: of each class, or those that the network itself made.

    Args:
        run: the trained run.
        images: (B, 3, H, W), normalised.
        chosen: the classes, or a number of highest-scoring ones.
        mechanism: mechanism that makes the maps, or "built_in".
        asked: options of class maps.

    Raises:
        ValueError: if answers or maps are not finite; see also `attend`.
    """
    if mechanism == "built_in":
        return _built_in(run, images, chosen)
    found = class_maps(run, images, chosen, mechanism, asked)
    ((name, maps),) = found.maps.items()
    return [_rows(name, maps, found.classes, _odds(run, found.logits))]


def _built_in(run: Run, images: Tensor, chosen: list[int] | int) -> list[Rows]:
    found = built_in_attention(run.model, images)
    check_logits(found.logits)
    for name, maps in found.maps.items():
        check_finite(maps, f"the maps of layer {name!r}")
    odds, everywhere = _odds(run, found.logits), torch.arange(len(images), device=found.logits.device).unsqueeze(1)
    if not found.per_class:
        best = odds.argmax(1, keepdim=True)
        return [_rows(name, maps, best.expand(maps.shape[:2]), odds, True) for name, maps in found.maps.items()]
    if isinstance(chosen, int):
        classes = odds.topk(chosen).indices
    else:
        classes = torch.tensor(chosen, device=odds.device).expand(len(images), -1)
    return [_rows(name, maps[everywhere, classes], classes, odds) for name, maps in found.maps.items()]


def _rows(layer: str, maps: Tensor, classes: Tensor, odds: Tensor, of_heads: bool = False) -> Rows:
    """Return maps (B, K, h, w) of classes (B, K) as rows, given probabilities (B, C)."""
    images, count = classes.shape
    numbers = torch.arange(count) if of_heads else torch.full((count,), -1)
    return Rows(
        layer,
        torch.arange(images).repeat_interleave(count),
        classes.flatten().cpu(),
        odds.gather(1, classes).flatten().cpu(),
        numbers.repeat(images),
        maps.detach().flatten(0, 1).float().cpu(),
    )


def _odds(run: Run, logits: Tensor) -> Tensor:
    """Return probabilities (B, C)."""
    return logits.sigmoid() if run.multilabel else logits.softmax(1)
