"""Masks that a segmenter found, packed to a bit a pixel and enlarged to their image when they are read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.marks.union import Mask

__all__ = ["DrawnMask", "FoundMask", "packed", "unpacked"]


@dataclass(frozen=True, eq=False)
class DrawnMask:
    """A mask (H, W) that somebody drew."""

    drawn: Tensor

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        mask: Mask = self.drawn.bool().numpy()
        return mask


@dataclass(frozen=True, eq=False)
class FoundMask:
    """A found mask of an image of `size` (height, width).

    Attributes:
        bits: the mask, packed by row.
        grid: (height, width) of the packed mask.
        size: (height, width) of the image.
    """

    bits: npt.NDArray[np.uint8]
    grid: tuple[int, int]
    size: tuple[int, int]

    def mask(self) -> Mask:
        """Return the mask (H, W)."""
        small = torch.from_numpy(unpacked(self.bits, self.grid)).float()
        mask: Mask = (F.interpolate(small[None, None], self.size, mode="bilinear")[0, 0] > 0.5).numpy()
        return mask


def packed(masks: Tensor) -> npt.NDArray[np.uint8]:
    """Pack masks (N, h, w) of booleans to (N, bytes)."""
    return np.packbits(masks.flatten(1).cpu().numpy(), axis=1)


def unpacked(bits: npt.NDArray[np.uint8], grid: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the masks (..., h, w) of packed ones (..., bytes)."""
    height, width = grid
    return np.unpackbits(bits, axis=-1, count=height * width).astype(bool).reshape(*bits.shape[:-1], height, width)
