"""Images of class indices, with VOC's palette: masks that any segmentation tool reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from looksharp.files import replacing
from looksharp.marks.mask_images import load_pixels

__all__ = ["UNKNOWN", "palette", "read_class_image", "write_class_image"]

UNKNOWN = 255
"""Index of pixels whose class is not known, or does not count."""


def palette() -> Tensor:
    """Return VOC's colours (256, 3) of bytes by index: 0, the background, is black, and 255, unknown, is cream.

    The bits of an index, from the lowest, are in turn the highest, second highest, ... bits of red, green and blue.
    """
    index = torch.arange(256)
    colours = torch.zeros(256, 3, dtype=torch.int64)
    for step in range(8):
        for channel in range(3):
            colours[:, channel] |= ((index >> channel) & 1) << (7 - step)
        index = index >> 3
    return colours.to(torch.uint8)


def write_class_image(path: Path, labels: Tensor) -> None:
    """Write class indices (H, W), 0 for the background and `UNKNOWN`, as a palette PNG.

    Raises:
        ValueError: if an index is no byte.
    """
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) <= 255:
        raise ValueError(f"class indices must be 0 to 255; got {int(labels.min())} to {int(labels.max())}")
    picture = Image.fromarray(labels.to(torch.uint8).cpu().numpy(), mode="P")
    picture.putpalette(palette().flatten().tolist())
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")


def read_class_image(path: Path, classes: int) -> Tensor:
    """Read class indices (H, W), 0 for the background and `UNKNOWN`, from a palette or grey image.

    Args:
        path: the file.
        classes: number of classes, without the background.

    Raises:
        ValueError: if it is no such image, or has an index of no class; the message names the file.
    """
    mode, pixels = load_pixels(path)
    if mode[0] not in "PL":
        raise ValueError(f"{path} must hold class indices, as a grey or palette image; got pixels of mode {mode}")
    found = np.bincount(pixels.ravel(), minlength=256)
    found[[*range(classes + 1), UNKNOWN]] = 0
    if found.any():
        index = int(np.flatnonzero(found)[0])
        raise ValueError(f"{path} must hold indices 0 to {classes} of classes, or {UNKNOWN}; got index {index}")
    return torch.from_numpy(pixels.astype(np.uint8))
