"""A folder of photographs as surroundings for marked objects."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from looksharp.data.split import Pixels
from looksharp.data.transform import image_transform
from looksharp.images.finding import find_images
from looksharp.images.reading import read_image

__all__ = ["read_backgrounds"]


def read_backgrounds(folder: Path, pixels: Pixels, seed: int = 0, most: int = 512) -> Tensor:
    """Read the photographs in and below a folder as a network reads them, (N, 3, H, W).

    Args:
        folder: folder of the photographs.
        pixels: the size to which they are brought, and how they are normalised.
        seed: draws the photographs to read, where there are more than `most`.
        most: largest number held in memory.

    Raises:
        ValueError: if there is no such folder, or no image in it.
    """
    found = find_images(folder) if folder.is_dir() else []
    if not found:
        problem = "holds no image" if folder.is_dir() else "is not a folder"
        raise ValueError(f"backgrounds: {folder} {problem}")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed))[:most].tolist()
    transform = image_transform(pixels)
    images = [
        transform(read_image(found[place], value_range=pixels.value_range)).as_subclass(Tensor)
        for place in sorted(order)
    ]
    return pixels.normalize(torch.stack(images))
