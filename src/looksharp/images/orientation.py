"""EXIF orientation: the way a camera was held."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from PIL import ExifTags, Image
from PIL.Image import Transpose

from looksharp.images.each import OfEachImage
from looksharp.images.opening import UNREADABLE, opened

__all__ = ["ImageOrientations", "orientation_of", "read_orientation", "swaps_sides", "turn_of"]

_TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_PNG_WORDS = {b"eXIf", b"iTXt", b"tEXt", b"zTXt"}  # chunks in which an orientation may stand


def swaps_sides(orientation: int) -> bool:
    """Return whether an EXIF orientation (1 to 8) turns height into width."""
    return orientation in (5, 6, 7, 8)


def orientation_of(image: Image.Image) -> int:
    """Return an open image's EXIF orientation, 1 to 8; 1, upright, where it has none or a damaged one.

    Pixels are not decoded, but for a PNG file whose EXIF follows them.
    """
    try:
        late = image.format == "PNG" and _words_follow_pixels(image)
        found = (image.getexif() if late else Image.Image.getexif(image)).get(ExifTags.Base.Orientation, 1)
    except UNREADABLE:
        return 1
    return found if found in _TURNS else 1


def turn_of(image: Image.Image) -> Transpose | None:
    """Return what turns an image upright once its pixels are decoded; None where it is."""
    image.load()  # which turns TIFF files already
    return _TURNS.get(orientation_of(image))


def read_orientation(path: Path | str) -> int:
    """Return the EXIF orientation of an image file, 1 to 8; 1, upright, where it has none.

    Args:
        path: the file.

    Raises:
        ValueError: if it is missing or not an image.
    """
    with opened(path) as image:
        return orientation_of(image)


def _words_follow_pixels(image: Image.Image) -> bool:
    """Return whether a PNG file has a chunk of EXIF or text behind its pixels."""
    file = getattr(image, "fp", None)
    if file is None:
        return False
    place = file.tell()
    try:
        file.seek(8)
        seen = False
        while len(head := file.read(8)) == 8:
            if seen and head[4:] in _PNG_WORDS:
                return True
            seen = seen or head[4:] == b"IDAT"
            file.seek(int.from_bytes(head[:4]) + 4, 1)
        return False
    finally:
        file.seek(place)


class ImageOrientations(OfEachImage[int]):
    """EXIF orientation of each image of a folder, read when asked for.

    Args:
        root: the folder.
        paths: the images' paths below it.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        super().__init__(root, paths, read_orientation)
