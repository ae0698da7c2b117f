"""The size of an image file, from its header."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

__all__ = ["UNREADABLE", "read_size"]

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What PIL raises for files that are missing, damaged or no images."""


def read_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image file.

    Raises:
        ValueError: if it is missing or no image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {str(error).splitlines()[0]}") from None
