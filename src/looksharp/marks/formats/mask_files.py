"""Mask images in a folder, one for an image, under the image's own path."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from looksharp.marks.image_index import ImageIndex
from looksharp.marks.mark_format import MARK_FORMATS, MarkFormat
from looksharp.marks.mask_images import read_mask
from looksharp.marks.union import MaskUnion

__all__ = ["MaskFiles"]

_SUFFIXES = frozenset(".png .jpg .jpeg .bmp .gif .pgm .pbm .ppm .tif .tiff .webp".split())


@MARK_FORMATS.register("mask_files")
class MaskFiles(MarkFormat):
    """A folder of mask images; see `mask_images.object_pixels` for which pixels are the object.

    The mask of `train/dog/0001.jpg` is `train/dog/0001.png` in the folder or, where only one image fits, a path
    that ends the same (`dog/0001.png`). Its class is the image's class folder: the nearest folder around the
    image that has a class's name.
    """

    takes = "a folder of mask images"
    fallback = True

    def matches(self, path: Path) -> bool:
        """Match any folder."""
        return path.is_dir()

    def read(self, path: Path, union: MaskUnion) -> None:
        """Add a folder of mask images to `union`.

        Raises:
            ValueError: if a mask cannot be read, fits several images, or has another size than its image.
        """
        index = ImageIndex(union.images, key=_without_suffix)
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if file.name.startswith(".") or not file.is_file():
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


def _without_suffix(path: str) -> str:
    return PurePosixPath(path).with_suffix("").as_posix()
