"""Mask images: which pixels of a picture are the object."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from looksharp.images.opening import UNREADABLE, one_line, open_image, reason_of
from looksharp.images.orientation import turn_of
from looksharp.marks.union import Mask

__all__ = ["load_pixels", "object_pixels", "read_mask"]


def load_pixels(file: Path | str, content: IO[bytes] | None = None) -> tuple[str, NDArray[Any]]:
    """Return an image file's PIL mode and pixels, (H, W) or (H, W, channels); for a palette image the indices.

    EXIF turns it upright, as it does images. A palette whose first colour is not black has the mode "P, not black";
    transparency makes colours "RGBA".

    Args:
        file: the file, or a name for messages.
        content: its content, if it is open already.

    Raises:
        ValueError: if the file is no image, is damaged, or has more pixels than PIL takes for safe.
    """
    try:
        with open_image(file, content) as picture:
            turn = turn_of(picture)
            shown = picture if turn is None else picture.transpose(turn)
            if picture.mode == "P":
                black = (picture.getpalette() or [0, 0, 0])[:3] == [0, 0, 0]
                return "P" if black else "P, not black", np.asarray(shown)
            if picture.mode in ("1", "L", "F") or picture.mode.startswith("I"):
                return picture.mode, np.asarray(shown)
            return "RGBA", np.asarray(shown.convert("RGBA"))
    except UNREADABLE as error:
        reason = reason_of(error, file)
    raise ValueError(f"{one_line(file)} must be an image, but cannot be read: {reason}; save it again as PNG")


def object_pixels(mode: str, pixels: NDArray[Any], file: Path | str) -> Mask:
    """Return the object's pixels (H, W) among those from `load_pixels`.

    The object is, in a

    - greyscale or colour image: the values above 127, or the ones if there is nothing but 0 and 1; for colour,
      of the brightest channel, and not where the image is transparent;
    - palette image: every index but 0, whose colour must be black, so that no inverted mask goes unnoticed;
    - 1-bit, 16-bit or floating-point image: everything but 0.

    Raises:
        ValueError: if it is unclear which pixels are the object.
    """
    if mode == "P, not black":
        raise ValueError(
            f"{file} has a palette whose first colour is not black, so which pixels are the object is open; "
            f"save the mask as 8-bit greyscale, 255 for the object"
        )
    if mode == "RGBA":
        pixels = np.where(pixels[..., 3] > 127, pixels[..., :3].max(-1), 0)
    elif mode != "L":
        return (pixels != 0) & (pixels == pixels)  # NaN is no object
    return pixels > (0 if pixels.max(initial=0) <= 1 else 127)


def read_mask(file: Path) -> Mask:
    """Return the object's pixels (H, W) in a mask image; see `object_pixels`.

    Raises:
        ValueError: if it cannot be read, or it is unclear which pixels are the object.
    """
    return object_pixels(*load_pixels(file), file)
