"""Formats with one file of marks for each image: the image that a file means."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from looksharp.marks.image_index import ImageIndex, original_names, path_in, same_split, split_in
from looksharp.marks.union import MaskUnion

__all__ = ["LabelFiles"]


class LabelFiles:
    """Find the image of each mark file, whatever the image's suffix.

    Args:
        union: the union that marks are added to; files of images that it lacks are counted.

    """

    def __init__(self, union: MaskUnion) -> None:
        self.union = union
        self._index = ImageIndex(union.images, key=lambda image: PurePosixPath(image).with_suffix("").as_posix())
        self._taken: dict[str, Path] = {}

    def find(self, reference: str, file: Path) -> str | None:
        """Return the image whose path ends in `reference`, or in the longest end of it that any path has.

        Args:
            reference: a path of any system or a URL.
            file: the mark file.

        Raises:
            ValueError: if several images fit, or the image is another file's already.

        """
        parts = [part for part in PurePosixPath(path_in(reference)).parts if part not in ("..", "/")]
        name = parts[-1] if parts else ""
        image, split = None, split_in(parts[:-1])
        for each in original_names(name.rpartition(".")[0] or name):
            found = (self._index.find("/".join([*parts[start:-1], each]), str(file)) for start in range(len(parts)))
            image = image or next((image for image in found if image is not None), None)
        if image is not None and not same_split(image, split):
            image = None  # it only has the same name
        if image is None:
            self.union.skip("image not in the data", f"{reference!r} of {file}")
        elif self._taken.setdefault(image, file) != file:
            raise ValueError(
                f"{file} and {self._taken[image]} both mean the image {image}; expected one file for each image: lay "
                f"the files out like the images, or give each image its own name"
            )
        return image
