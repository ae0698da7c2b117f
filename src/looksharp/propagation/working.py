"""Images as the segmenter reads them: whole, at a small size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.data.split import BatchLoader, Pixels, Split

__all__ = ["LONGEST", "marked_images", "working_batches"]

LONGEST = 96
"""Longest side, in pixels, of the images that the segmenter reads."""


def working_batches(
    split: Split, pixels: Pixels, batches: Sequence[list[int]], device: torch.device | str = "cpu", workers: int = 0
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield images (B, 3, h, w), normalised, and the union of each one's marks (B, h, w); None without any.

    Both sides are resized, so that the whole image is seen whatever its proportions.

    Args:
        split: the images.
        pixels: the way from their pixels to the network's input.
        batches: places of each batch's images.
        device: device to put them on.
        workers: processes that read image files.
    """
    size = _working_size(pixels.size)
    read = pixels if split.in_memory else pixels.whole(size)
    loader: BatchLoader = split.loader(batches, read, device=device, workers=workers)
    for batch in loader:
        masks = None
        if batch.marks:
            masks = batch.image.new_zeros(len(batch), *batch.image.shape[-2:])
            masks = masks.index_add(0, batch.marks.sample, batch.marks.mask.to(masks)).clamp(max=1)
            masks = _resized(masks.unsqueeze(1), size).squeeze(1)
        yield _resized(batch.image, size), masks


def marked_images(
    split: Split, pixels: Pixels, places: Sequence[int], device: torch.device | str = "cpu", workers: int = 0
) -> tuple[Tensor, Tensor]:
    """Return marked images (M, 3, h, w), normalised, and their marks (M, h, w)."""
    batches = [list(places[start : start + 64]) for start in range(0, len(places), 64)]
    found = [
        (image, mask) for image, mask in working_batches(split, pixels, batches, device, workers) if mask is not None
    ]
    images, masks = zip(*found, strict=True)
    return torch.cat(images), torch.cat(masks)


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    shrink = min(1.0, LONGEST / max(size))
    return max(round(size[0] * shrink), 4), max(round(size[1] * shrink), 4)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(images.shape[-2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)
