"""Sizes of image files, from their headers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import IO

from looksharp.images.each import OfEachImage
from looksharp.images.opening import UNREADABLE, opened
from looksharp.images.orientation import orientation_of, swaps_sides

__all__ = ["UNREADABLE", "ImageSizes", "read_size"]


def read_size(path: Path | str, content: IO[bytes] | None = None) -> tuple[int, int]:
    """Return (height, width) of an image file, upright; its pixels are not decoded.

    Args:
        path: the file, or a name for messages.
        content: its content, if it is open already.

    Raises:
        ValueError: if it is missing or not an image.
    """
    with opened(path, content) as image:
        swapped = image.format != "TIFF" and swaps_sides(orientation_of(image))  # PIL gives TIFF's sizes upright
        return (image.width, image.height) if swapped else (image.height, image.width)


class ImageSizes(OfEachImage[tuple[int, int]]):
    """(height, width) of each image of a folder, upright, read from its header when asked for.

    Args:
        root: the folder.
        paths: the images' paths below it.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        super().__init__(root, paths, read_size)
