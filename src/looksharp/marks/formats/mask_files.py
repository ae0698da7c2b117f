"""Mask images in a folder, one for an image, under the image's own path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from looksharp.marks.image_index import ImageIndex
from looksharp.marks.union import Mask, MaskUnion

__all__ = ["load_pixels", "read_mask", "read_mask_files"]

_SUFFIXES = frozenset(".png .jpg .jpeg .bmp .gif .pgm .pbm .ppm .tif .tiff .webp".split())


def read_mask_files(folder: Path, union: MaskUnion) -> None:
    """Add a folder of mask images to `union`.

    The mask of `train/dog/0001.jpg` is `train/dog/0001.png` in `folder`, or, where only one image fits, a path
    that ends the same (`dog/0001.png`). Its class is the image's class folder: the nearest folder around the
    image that has a class's name. The object is, in a

    - greyscale or colour image: the values above 127, or the ones if there is nothing but 0 and 1; for colour,
      of the brightest channel, and not where the image is transparent;
    - palette image: every index but 0, whose colour must be black, so that no negative passes unseen;
    - 1-bit, 16-bit or floating-point image: everything but 0.

    Raises:
        ValueError: if a mask cannot be read, fits several images, or has another size than its image.

    """
    index = ImageIndex(union.images, key=_without_suffix)
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_dir() or file.name.startswith("."):
            continue
        if file.suffix.lower() not in _SUFFIXES:
            union.skip("not an image file", repr(name))
            continue
        image = index.find(_without_suffix(name), str(file))
        if image is None:
            union.skip("image not in the data", repr(name))
            continue
        folders = PurePosixPath(image).parent.parts
        label = next((part for part in reversed(folders) if part in union.classes), None)
        if label is None:
            union.skip("class not in the data", f"folder {'/'.join(folders)!r} of {image!r}")
        else:
            union.add_mask(image, label, read_mask(file), str(file))


def load_pixels(file: Path) -> tuple[str, NDArray[Any]]:
    """An image file's PIL mode and pixels, (H, W) or (H, W, channels): for a palette image the indices.

    A palette whose first colour is not black has the mode "P, not black"; transparency makes colours "RGBA".

    Raises:
        ValueError: if the file is no image or is damaged.

    """
    try:
        with Image.open(file) as picture:
            if picture.mode == "P":
                black = (picture.getpalette() or [0, 0, 0])[:3] == [0, 0, 0]
                return "P" if black else "P, not black", np.asarray(picture)
            if picture.mode in ("1", "L", "F") or picture.mode.startswith("I"):
                return picture.mode, np.asarray(picture)
            return "RGBA", np.asarray(picture.convert("RGBA"))
    except (OSError, SyntaxError) as exc:  # PIL says SyntaxError for some damaged PNG files
        raise ValueError(f"{file} must be an image, but cannot be read: {exc}; save it again as PNG") from exc


def read_mask(file: Path) -> Mask:
    """The object's pixels (H, W) in a mask image; see `read_mask_files`.

    Raises:
        ValueError: if it cannot be read, or leaves open which pixels are the object.

    """
    mode, pixels = load_pixels(file)
    if mode == "P, not black":
        raise ValueError(
            f"{file} has a palette whose first colour is not black, so which pixels are the object is open; "
            f"save the mask as 8-bit greyscale, 255 for the object"
        )
    if mode == "RGBA":
        pixels = np.where(pixels[..., 3] > 127, pixels[..., :3].max(-1), 0)
    elif mode != "L":
        return pixels != 0
    return pixels > (0 if pixels.max() <= 1 else 127)


def _without_suffix(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()
