"""True class indices of an image's pixels, from the masks of its classes."""

from __future__ import annotations

import torch
from torch import Tensor

from looksharp.data.split import Split
from looksharp.marks.class_images import UNKNOWN

__all__ = ["true_labels"]


def true_labels(split: Split, place: int) -> Tensor | None:
    """Return an image's class indices (H, W): 0 for the background, 1 + class, 255 where unknown; None without masks.

    Where masks overlap, the smaller one's class counts. Pixels that a class image says are unknown (VOC's borders) are.

    Args:
        split: the images.
        place: the image's place.
    """
    marks = split.marks
    owned = [] if marks is None else marks.of(place)
    if marks is None or not owned:
        return None
    labels = torch.zeros(owned[0][1].shape, dtype=torch.uint8)
    for label, mask in sorted(owned, key=lambda pair: -int((pair[1] > 0.5).sum())):
        labels[mask > 0.5] = 1 + label
    unknown = marks.unknown(place)
    if unknown is not None:
        labels[unknown] = UNKNOWN
    return labels
