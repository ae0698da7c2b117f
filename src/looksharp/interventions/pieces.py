"""Pictures in which a piece, what a shortcut is read from, is another's, gone or alone: pure functions of tensors."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from looksharp.interventions.surroundings import feather, fill_holes, surroundings_only

__all__ = ["Fill", "exchange_pieces"]

Fill = Literal["moved", "spread", "own"]
"""The filling of a piece's place: the other image's piece, its pixels moved and fitted ("moved"); the other's piece,
continued smoothly over the whole image ("spread"); or a smooth continuation of the image's own surroundings ("own")."""


def exchange_pieces(images: Tensor, masks: Tensor, others: Tensor, other_masks: Tensor, fill: Fill = "moved") -> Tensor:
    """Put another image's piece in the place of each image's own.

    Args:
        images: (N, C, H, W).
        masks: (N, H, W) in [0, 1], 1 on the piece, which must not be empty. The edge is feathered here.
        others: (N, C, H, W), the images that lend their pieces.
        other_masks: (N, H, W), their pieces.
        fill: what takes the piece's place; see `Fill`.

    Returns:
        (N, C, H, W), equal to the images outside the feathered masks.
    """
    if fill == "own":
        return surroundings_only(images, masks)
    over = feather(masks).unsqueeze(1)
    lent = fill_holes(others, 1 - other_masks) if fill == "spread" else _moved(others, other_masks, masks)
    return over * lent + (1 - over) * images


def _moved(others: Tensor, other_masks: Tensor, masks: Tensor) -> Tensor:
    """Return others (N, C, H, W) resized and moved so that the box around their piece lies on that of the image's."""
    size = others.shape[-2:]
    axes = []
    for axis, length in ((-1, size[0]), (-2, size[1])):  # rows, then columns
        first, last = _ends(masks.amax(axis))
        start, stop = _ends(other_masks.amax(axis))
        places = torch.arange(length, device=others.device) + 0.5
        scale = (stop + 1 - start) / (last + 1 - first)
        at = (places - first.unsqueeze(1)) * scale.unsqueeze(1) + start.unsqueeze(1) - 0.5  # (N, length)
        at = at.clamp(start.unsqueeze(1), stop.unsqueeze(1))  # nothing from beyond the piece
        axes.append((2 * at + 1) / length - 1)
    rows, columns = axes
    grid = torch.stack([columns.unsqueeze(1).expand(-1, *size), rows.unsqueeze(2).expand(-1, *size)], -1)
    return F.grid_sample(others, grid.to(others.dtype), mode="bilinear", padding_mode="border", align_corners=False)


def _ends(covered: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last place (N,) at which rows (N, L) are above 0."""
    found = (covered > 0).to(torch.long)
    return found.argmax(1), covered.shape[1] - 1 - found.flip(1).argmax(1)
