"""A split of exchanged pictures in memory, for validation."""

from __future__ import annotations

import torch

from looksharp.data.split import Pixels, Split
from looksharp.data.splits.memory import TensorSplit
from looksharp.interventions.objects import ObjectReader, draw_partners, exchangeable, masked_objects, usable

__all__ = ["exchanged_split"]


def exchanged_split(
    split: Split,
    pixels: Pixels,
    *,
    limit: int = 500,
    seed: int = 0,
    batch_size: int = 64,
    device: torch.device | str = "cpu",
    workers: int = 0,
) -> TensorSplit:
    """Put masked objects, each into the surroundings of an image without its class, and keep them in memory.

    Args:
        split: images, some or all of them with masks or boxes.
        pixels: the way from their pixels to a network's input; the result is of its size.
        limit: images to draw objects and surroundings from.
        seed: draws those images, and the surroundings of each.
        batch_size: images read at a time.
        device: device that exchanges them.
        workers: processes that read image files.

    Returns:
        One image for each object; its target is the object's class alone, an index even where the split is
        multi-label.

    Raises:
        ValueError: if there are no masks, or masks of one class only.
    """
    objects = masked_objects(split)
    images = objects.samples.unique()
    drawn = images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:limit]]
    objects = objects[torch.isin(objects.samples, drawn)]
    reader = ObjectReader(split, pixels, device, workers)
    found = reader.read(objects, torch.arange(len(objects)).split(batch_size))
    objects = objects[torch.cat([usable(masks).cpu() for _, masks in found])]
    partners = draw_partners(objects, split.targets, 1, seed)[:, 1:]
    rows = exchangeable(objects, partners)
    batches = list(zip(rows.split(batch_size), partners[rows].flatten().split(batch_size), strict=True))
    shown = [
        (pixels.denormalize(exchanged) * 255).round().byte().cpu()
        for exchanged in reader.read_exchanged(objects, batches)
    ]
    return TensorSplit(targets=objects.labels[rows], images=torch.cat(shown))
