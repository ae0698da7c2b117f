"""How cameras held the pictures of image files: EXIF's orientation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from PIL import Image

from looksharp.images.headers import UNREADABLE

__all__ = ["ImageOrientations", "read_orientation"]

_TAG = 0x0112


def read_orientation(path: Path) -> int:
    """Return the EXIF orientation of an image file, 1 to 8; 1, upright, where it has none.

    Raises:
        ValueError: if it is missing or no image.
    """
    try:
        with Image.open(path) as image:
            found = image.getexif().get(_TAG, 1)
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {str(error).splitlines()[0]}") from None
    return found if found in range(1, 9) else 1


class ImageOrientations(Mapping[str, int]):
    """EXIF orientation of each image of a folder, read when asked for.

    Args:
        root: the folder.
        paths: the images' paths below it.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self.root, self.paths = root, dict.fromkeys(paths)

    def __getitem__(self, path: str) -> int:
        if path not in self.paths:
            raise KeyError(path)
        return read_orientation(self.root / path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
