"""Images read from files: upright, as sRGB, with 8 bits a channel."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from torchvision import tv_tensors

from looksharp.images.colour import to_srgb
from looksharp.images.depth import ValueRange, to_bytes
from looksharp.images.opening import opened
from looksharp.images.orientation import turn_of

__all__ = ["read_image"]


def read_image(
    path: Path | str, content: IO[bytes] | None = None, value_range: ValueRange | None = None
) -> tv_tensors.Image:
    """Read a file's pixels as RGB bytes (3, H, W), whatever its format and colour mode.

    The picture is turned upright as EXIF says, brought to sRGB by its colour profile, and without transparency. An
    animation or a file of several pictures gives its first.

    Args:
        path: the file, or a name for messages.
        content: its content, if it is open already.
        value_range: the values that become black and white in files of more than 8 bits a channel; 16-bit files
            default to 0 to 65,535.

    Raises:
        ValueError: in one line, if the file is missing, not an image or truncated, or if its pixels are floating-point
            numbers or integers of 32 bits and no range is given.
    """
    with opened(path, content) as image:
        shown = to_bytes(image, value_range)
        turn = turn_of(image)
        rgb = to_srgb(image if shown is None else shown)
        return tv_tensors.Image(rgb if turn is None else rgb.transpose(turn))
