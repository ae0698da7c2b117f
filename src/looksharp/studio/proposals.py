"""The region of an image that carries the network's evidence, proposed as a mark."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from looksharp.data.split import Pixels
from looksharp.data.transform import image_transform, seen_box
from looksharp.marks.union import Mask
from looksharp.suspects.regions import pixel_evidence

__all__ = ["LEVELS", "Proposal", "find_proposal"]

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Shares of the largest evidence above which a pixel belongs to the region; the next one shrinks it. The first is that
of `looksharp.suspects.regions.find_regions`."""


@dataclass(frozen=True, eq=False)
class Proposal:
    """Evidence for a class in an image.

    Attributes:
        evidence: (h, w), of the network's input.
        pixels: the way from the image to that input.
        size: the image's own (height, width).
    """

    evidence: NDArray[np.float32]
    pixels: Pixels
    size: tuple[int, int]

    def mask(self, shrunk: int = 0) -> Mask:
        """Return the region (H, W) in the image's own pixels.

        Args:
            shrunk: number of times that it was shrunk, below the number of `LEVELS`.
        """
        peak = self.evidence.max()
        region = (self.evidence > LEVELS[shrunk] * peak) & (peak > 0)  # (h, w)
        top, left, height, width = seen_box(self.pixels, self.size)
        rows = _places(self.size[0], top, height, region.shape[0])
        columns = _places(self.size[1], left, width, region.shape[1])
        inside = (rows >= 0)[:, None] & (columns >= 0)
        found: Mask = region[rows.clip(0)][:, columns.clip(0)] & inside
        return found


def find_proposal(model: nn.Module, image: Tensor, label: int, pixels: Pixels) -> Proposal:
    """Find the evidence for a class in one image; see `looksharp.suspects.regions.pixel_evidence`.

    Args:
        model: a classifier in evaluation mode.
        image: (3, H, W) bytes, of the image's own size.
        label: the class.
        pixels: the way from the image to the network's input.
    """
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    seen = pixels.normalize(image_transform(pixels)(image).as_subclass(Tensor)[None]).to(device)
    evidence = pixel_evidence(model, seen, torch.tensor([label], device=device))[0]
    height, width = image.shape[-2:]
    return Proposal(evidence.detach().float().cpu().numpy(), pixels, (height, width))


def _places(length: int, start: float, extent: float, count: int) -> NDArray[np.int64]:
    """Return which of the input's `count` pixels each of the image's lies in; -1 where the network does not see it."""
    places = np.floor((np.arange(length) + 0.5 - start) / extent * count).astype(np.int64)
    return np.where((places >= 0) & (places < count), places, -1)
