"""Pixels of more than 8 bits a channel, or of floating-point numbers, brought to 8 without losing their range."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

__all__ = ["Depth", "ValueRange", "depth_of", "to_bytes"]

ValueRange = tuple[float, float]
"""The values, LOW and HIGH, that become black and white."""

Depth = Literal["8 bits", "16 bits", "32 bits", "floating point"]
"""Kinds of numbers in a channel of an image file."""

_LOWER = {f"{kind};16{order}": f"{kind};16{other}" for kind in ("RGB", "RGBA") for order, other in ("BL", "LB")}
_LOWER |= {"LA;16B": "RGBA", "RGB;16N": "RGB;16B", "RGBA;16N": "RGBA;16B"}
"""Layouts of which PIL unpacks the higher byte -> those by which it unpacks the lower one."""


def depth_of(image: Image.Image) -> Depth:
    """Return what a channel of an open image file holds; its pixels need not be decoded yet."""
    if image.mode == "F":
        return "floating point"
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG", "JPEG2000")):
        return "16 bits"
    if image.mode == "I":
        return "32 bits"
    return "16 bits" if _is_colour_16(image) else "8 bits"


def to_bytes(image: Image.Image, value_range: ValueRange | None) -> Image.Image | None:
    """Return a deep image with 8 bits a channel, grey or RGB; None if it has 8 already.

    Args:
        image: open and not yet decoded.
        value_range: the values that become black and white. 16-bit images default to 0 to 65,535.

    Raises:
        ValueError: if pixels are of 32 bits or floating-point numbers and no range is given.
    """
    depth = depth_of(image)
    if depth == "8 bits" or (value_range is None and _is_colour_16(image)):  # of which PIL gives the higher 8
        return None
    if value_range is None and depth == "16 bits":
        pixels = np.asarray(image)
        return Image.fromarray((pixels >> 8).clip(0, 255).astype(np.uint8))
    pixels = _colour_16(image) if _is_colour_16(image) else np.asarray(image)
    if value_range is None:
        what = "floating-point numbers" if depth == "floating point" else "32-bit integers"
        low, high = (float(edge(pixels)) for edge in (np.nanmin, np.nanmax))
        raise ValueError(
            f"its pixels are {what} of unknown range, here {low:g} to {high:g}; state it by --range LOW,HIGH, "
            f"or save it with 8 bits a channel"
        )
    return Image.fromarray(_scaled(pixels, value_range))


def _scaled(pixels: NDArray[np.generic], value_range: ValueRange) -> NDArray[np.uint8]:
    low, high = value_range
    shares = (pixels.astype(np.float64) - low) / (high - low)
    scaled: NDArray[np.uint8] = (np.nan_to_num(shares, nan=0.0).clip(0, 1) * 255).round().astype(np.uint8)
    return scaled


def _is_colour_16(image: Image.Image) -> bool:
    """Return whether PIL would cut colours of 16 bits a channel down to 8."""
    return any(_raw_mode(tile) in _LOWER for tile in _tiles(image))


def _tiles(image: Image.Image) -> list[ImageFile._Tile]:
    """Return the parts of an image file, as PIL is to unpack them."""
    return list(getattr(image, "tile", None) or ())


def _raw_mode(tile: ImageFile._Tile) -> str:
    """Return how the pixels of a part of an image file are laid out, in PIL's words."""
    found = tile[3][0] if isinstance(tile[3], tuple) else tile[3]
    return found if isinstance(found, str) else ""


def _colour_16(image: Image.Image) -> NDArray[np.generic]:
    """Return the pixels (H, W, 3) of a file of 16 bits a channel in full depth.

    PIL unpacks one byte of two: the higher one or, if told the opposite byte order, the lower one.
    """
    file = getattr(image, "fp", None)
    assert file is not None
    place, halves = file.tell(), []
    for swapped in (False, True):
        file.seek(0)
        with Image.open(file) as again:
            if swapped:
                setattr(again, "tile", [_swapped(tile) for tile in _tiles(again)])  # noqa: B010 (of its subclasses)
            halves.append(np.asarray(again).astype(np.uint16))
    file.seek(place)
    higher, lower = halves
    if any(_raw_mode(tile) == "LA;16B" for tile in _tiles(image)):  # grey's lower byte lies where RGBA has green
        lower = lower[..., 1:2]
    return (higher[..., :3] << 8) | lower[..., :3]


def _swapped(tile: ImageFile._Tile) -> ImageFile._Tile:
    mode = _LOWER[_raw_mode(tile)]
    return tile._replace(args=(mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode)
