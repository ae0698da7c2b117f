"""Splits whose images are cut out of files: the object's box alone, as is common for fine-grained sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchvision import tv_tensors

from looksharp.data.splits.files import DecodedSplit
from looksharp.marks.union import Box

__all__ = ["CroppedSplit", "read_box"]


@dataclass(kw_only=True)
class CroppedSplit(DecodedSplit):
    """A split whose images are boxes of files below `root`: left, top, right and bottom edge in pixels.

    A file may come several times, with other boxes. The part of a box outside its file is cut off.
    """

    root: Path
    paths: Sequence[str] = field(repr=False)
    boxes: Sequence[Box] = field(repr=False)

    def name(self, index: int) -> str:
        """Return the file's path and the box, since a file may come several times."""
        return f"{self.paths[index]}[{','.join(f'{edge:g}' for edge in self.boxes[index])}]"

    def encoded(self, index: int) -> tuple[Path, None]:
        """Return the file that the image is cut out of."""
        return self.root / self.paths[index], None

    def size(self, index: int) -> tuple[int, int]:
        """Return (height, width) of an image: its box within the file."""
        top, bottom, left, right = self._edges(index, super().size(index))
        return bottom - top, right - left

    def image(self, index: int) -> tv_tensors.Image:
        """Return one image (3, H, W) of bytes, at its box's size.

        Raises:
            ValueError: if the file cannot be read, or the box lies outside it.
        """
        whole = super().image(index)
        height, width = whole.shape[-2:]
        top, bottom, left, right = self._edges(index, (height, width))
        return tv_tensors.Image(whole[:, top:bottom, left:right])

    def _edges(self, index: int, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return the box's top, bottom, left and right edge within an image of `size` (height, width)."""
        (height, width), (left, top, right, bottom) = size, (round(edge) for edge in self.boxes[index])
        rows, columns = (max(top, 0), min(bottom, height)), (max(left, 0), min(right, width))
        if rows[0] >= rows[1] or columns[0] >= columns[1]:
            raise ValueError(
                f"{self.root / self.paths[index]} has {height}x{width} pixels (height x width), but its box goes from "
                f"x {left} to {right} and y {top} to {bottom}"
            )
        return *rows, *columns


def read_box(words: Sequence[str], where: str) -> Box:
    """Return a box from four numbers in words, left, top, right, bottom; `where` starts the message.

    Raises:
        ValueError: if they are not four numbers, or the box is empty.
    """
    numbers = _numbers(words)
    if (
        len(numbers) != 4
        or not all(map(math.isfinite, numbers))
        or not (numbers[0] < numbers[2] and numbers[1] < numbers[3])
    ):
        raise ValueError(f"{where} must have a box x1 y1 x2 y2 with x1 < x2 and y1 < y2; got {' '.join(words)!r}")
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _numbers(words: Iterable[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        return []
