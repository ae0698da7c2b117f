"""Small pictures of images, made when they are first asked for, and kept."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from looksharp.files import replacing

if TYPE_CHECKING:
    from looksharp.data.split import Split

__all__ = ["SIDES", "Thumbnails", "encoded"]

SIDES = (160, 640)
"""Longest sides, in pixels, that images are shrunk to; smaller ones keep theirs. 0 stands for an image as it is, up to
4,096 pixels: canvases of browsers and WebP have their limits."""

_LARGEST = 4096
_IN_FOLDER = 1000


class Thumbnails:
    """Pictures of a data set's images, upright, as WebP; those of image files are kept in a folder.

    Args:
        folder: where they are kept, by split and place.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, name: str, split: Split, index: int, side: int) -> bytes:
        """Return an image of a split as a picture.

        Args:
            name: the split's name.
            split: the split.
            index: the image's place.
            side: one of `SIDES`, or 0, which is not kept.

        Raises:
            ValueError: if there is no such image or side, or the file cannot be read.
        """
        if not 0 <= index < len(split) or side not in (0, *SIDES):
            raise ValueError(f"{name} has {len(split)} images, of sides 0, {', '.join(map(str, SIDES))}")
        if split.folder is None or side == 0:
            return _picture(split, index, side)
        path = self._path(name, split, index, side)
        try:
            return path.read_bytes()
        except OSError:
            content = _picture(split, index, side)
        with suppress(OSError), replacing(path) as temporary:  # of a run that cannot be written to none is kept
            temporary.write_bytes(content)
        return content

    def _path(self, name: str, split: Split, index: int, side: int) -> Path:
        """Return the file of a picture; another one once the image's file has changed."""
        file = (split.folder or Path()) / split.name(index)
        try:
            facts = file.stat()
        except OSError as error:
            raise ValueError(f"{split.name(index)}: {error.strerror}") from None
        key = hashlib.sha256(f"{split.name(index)} {facts.st_size} {facts.st_mtime_ns}".encode(errors="replace"))
        where = self.folder / re.sub(r"[^\w-]", "_", name) / str(index // _IN_FOLDER)
        return where / f"{index}-{side}-{key.hexdigest()[:12]}.webp"


def _picture(split: Split, index: int, side: int) -> bytes:
    return encoded(split.image(index).permute(1, 2, 0).numpy(), side)


def encoded(pixels: object, side: int = 0) -> bytes:
    """Write pixels (H, W, 3 or 4) of bytes as WebP, shrunk to a longest side; small ones exactly."""
    import numpy as np
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(pixels))
    longest = side or _LARGEST
    picture.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3)
    buffer = BytesIO()
    small = max(picture.size) <= min(SIDES) or picture.mode == "RGBA"
    picture.save(buffer, "WEBP", quality=85, lossless=small, method=2)
    return buffer.getvalue()
