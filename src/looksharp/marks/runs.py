"""Masks as lengths of runs of zeros and ones in turn, as COCO and CVAT write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from looksharp.marks.union import Mask

__all__ = ["row_runs", "runs_mask", "runs_of"]

_SHIFT = 60  # bits; a run of more is no number of pixels
_MOST = 1 << 28  # pixels; an image of 16,000 x 16,000


def runs_mask(runs: Sequence[int], size: Sequence[int]) -> Mask:
    """Return the mask (H, W) of runs of zeros and ones in turn, down the columns.

    pycocotools' `decode` is not used: it reads foreign memory where the runs end before the image does, and warns
    with numpy 2.
    """
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(size[1], size[0]).T


def runs_of(counts: str, where: str) -> list[int]:
    """Return the run lengths in compressed RLE.

    A character holds 5 bits, the lowest first; its sixth bit says that more follow.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - 48
        value |= (code & 31) << shift
        shift += 5
        if shift > _SHIFT:
            raise ValueError(
                f"{where} must have RLE with size [height, width] and counts, but a run of its counts "
                f"has no end; export it again"
            )
        if not code & 32:
            value -= (code & 16) << (shift - 4)  # the last character's highest bit is the sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))  # written as a change from two runs before
            value = shift = 0
    return runs


def row_runs(runs: Sequence[int], height: int, width: int, where: str) -> Mask:
    """Return a mask (height, width) of runs of zeros and ones in turn, along the rows.

    Raises:
        ValueError: if the runs are not of height * width pixels, or these are more than 2^28.
    """
    if not 0 < height * width <= _MOST or min(height, width) <= 0:
        raise ValueError(
            f"{where} is a mask of {width:g} x {height:g} pixels; expected 1 to {_MOST:,} of them; export it again"
        )
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        raise ValueError(f"{where} must have an rle of {width} x {height} pixels; got {sum(runs)}; export it again")
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
