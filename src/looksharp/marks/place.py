"""The place of a shape that somebody drew."""

from __future__ import annotations

from dataclasses import dataclass

from looksharp.marks.union import Mask, MaskUnion

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """The image and class of a shape, and the union that it is added to.

    Attributes:
        union: the union that the shape is added to.
        image: the image's path.
        label: the class's name.
        where: starts messages; names the file and the shape.

    """

    union: MaskUnion
    image: str
    label: str
    where: str

    @property
    def size(self) -> tuple[int, int]:
        """Return the image's (height, width) in the coordinates of the marks."""
        return self.union.size(self.image)

    def add_box(self, left: float, top: float, right: float, bottom: float) -> bool:
        """Add the pixels whose centre a box holds; return whether there are any."""
        return self.union.add_box(self.image, self.label, (left, top, right, bottom), self.where)

    def add_mask(self, mask: Mask) -> bool:
        """Add a mask (H, W); return whether it has a pixel."""
        return self.union.add_mask(self.image, self.label, mask, self.where)
