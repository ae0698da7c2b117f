"""Look at an image file for facts worth a remark before training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from looksharp.images.colour import to_srgb
from looksharp.images.depth import ValueRange, depth_of, to_bytes
from looksharp.images.opening import opened

__all__ = ["Look", "look_at"]

_SMALL = (64, 64)


@dataclass(frozen=True)
class Look:
    """Facts about an image file that may be worth a remark.

    Attributes:
        constant: True if all its pixels come out the same.
        several: True if it holds several pictures, as animations do; the first is read.
        highest: largest value of a 16-bit image; None for others.
        pixels: number of pixels.
    """

    constant: bool
    several: bool
    highest: int | None
    pixels: int


def look_at(path: Path | str, content: IO[bytes] | None = None, value_range: ValueRange | None = None) -> Look:
    """Look at an image file; see `reading.read_image` for the arguments.

    Raises:
        ValueError: as `read_image` does.
    """
    with opened(path, content) as image:
        pixels = image.width * image.height
        several = bool(getattr(image, "is_animated", False))
        deep = depth_of(image) == "16 bits"
        image.draft("RGB", _SMALL)  # JPEG alone; a constant picture is constant at every scale
        shown = to_bytes(image, value_range)
        rgb = to_srgb(image if shown is None else shown)
        constant = all(low == high for low, high in rgb.getextrema())  # type: ignore[misc]
        return Look(constant, several, _highest(image) if deep else None, pixels)


def _highest(image: Image.Image) -> int:
    pixels = np.asarray(image)
    return int(pixels.max()) if pixels.dtype != np.uint8 else 256 * int(pixels[..., :3].max()) + 255
