"""Formats with one annotation file for each image: which image a file means."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from looksharp.marks.image_index import ImageIndex
from looksharp.marks.union import MaskUnion

__all__ = ["LabelFiles"]


class LabelFiles:
    """Finds the image of each annotation file, whatever the image's suffix.

    Args:
        union: what the annotations are added to; files of images that it lacks are counted.

    """

    def __init__(self, union: MaskUnion) -> None:
        self.union = union
        self._index = ImageIndex(union.images, key=lambda image: PurePosixPath(image).with_suffix("").as_posix())
        self._taken: dict[str, Path] = {}

    def find(self, reference: str, file: Path) -> str | None:
        """The image that `reference` means: the one whose path ends in it, or in as much of its end as any does.

        Raises:
            ValueError: if several images fit, or the image is another file's already.

        """
        parts = [p for p in PurePosixPath(reference.replace("\\", "/")).with_suffix("").parts if p not in ("..", "/")]
        found = (self._index.find("/".join(parts[start:]), str(file)) for start in range(len(parts)))
        image = next((image for image in found if image is not None), None)
        if image is None:
            self.union.skip("image not in the data", f"{reference!r} of {file}")
        elif self._taken.setdefault(image, file) != file:
            raise ValueError(
                f"{file} and {self._taken[image]} both mean the image {image}; expected one file for each image: lay "
                f"the files out like the images, or give each image its own name"
            )
        return image
