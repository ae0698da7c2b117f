"""Splits whose images are cut out of files: the object's box alone, as fine-grained sets are often trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torchvision import tv_tensors

from looksharp.data.splits.files import DecodedSplit, read_image
from looksharp.marks.union import Box

__all__ = ["CroppedSplit", "read_box"]


@dataclass(kw_only=True)
class CroppedSplit(DecodedSplit):
    """A split whose images are boxes of files below `root`: left, top, right and bottom edge in pixels.

    A file may come several times, with other boxes. What of a box lies outside its file is left out.
    """

    root: Path
    paths: Sequence[str] = field(repr=False)
    boxes: Sequence[Box] = field(repr=False)

    def name(self, index: int) -> str:
        """Return the file's path and the box, since a file may come several times."""
        return f"{self.paths[index]}[{','.join(f'{edge:g}' for edge in self.boxes[index])}]"

    def image(self, index: int) -> tv_tensors.Image:
        """Return one image (3, H, W) of bytes, at its box's size.

        Raises:
            ValueError: if the file cannot be read, or the box lies outside it.
        """
        path, (left, top, right, bottom) = self.root / self.paths[index], (round(edge) for edge in self.boxes[index])
        whole = read_image(path)
        cut = whole[:, max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
        if not cut.numel():
            height, width = whole.shape[-2:]
            raise ValueError(
                f"{path} has {height}x{width} pixels (height x width), but its box goes from x {left} to {right} "
                f"and y {top} to {bottom}"
            )
        return tv_tensors.Image(cut)


def read_box(words: Sequence[str], where: str) -> Box:
    """A box from four numbers in words, left, top, right, bottom; `where` starts the message.

    Raises:
        ValueError: if they are no four numbers, or the box is empty.
    """
    numbers = _numbers(words)
    if len(numbers) != 4 or not (numbers[0] < numbers[2] and numbers[1] < numbers[3]):
        raise ValueError(f"{where} must have a box x1 y1 x2 y2 with x1 < x2 and y1 < y2; got {' '.join(words)!r}")
    left, top, right, bottom = numbers
    return left, top, right, bottom


def _numbers(words: Iterable[str]) -> list[float]:
    try:
        return [float(word) for word in words]
    except ValueError:
        return []
