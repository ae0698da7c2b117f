"""One mark: the pixels of a class in an image."""

from __future__ import annotations

from dataclasses import dataclass

from looksharp.marks.union import Mask

__all__ = ["Mark"]


@dataclass(frozen=True, eq=False)  # arrays have no equality of one bool
class Mark:
    """The pixels that somebody marked as a class in an image; boxes are masks too.

    Attributes:
        image: the image's path relative to the data folder, POSIX, such as "train/dog/0001.png".
        label: the class's name.
        mask: (H, W) bool at the image's own size, with at least one pixel set.

    """

    image: str
    label: str
    mask: Mask
