"""Marks turned as EXIF turns the image they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["swaps_sides", "upright"]


def swaps_sides(orientation: int) -> bool:
    """Return whether an EXIF orientation (1 to 8) turns height into width."""
    return orientation in (5, 6, 7, 8)


def upright(mask: NDArray[np.bool_], orientation: int) -> NDArray[np.bool_]:
    """Turn a mask (H, W) of an image as stored into one of the image upright.

    Args:
        mask: in coordinates of the stored pixels.
        orientation: EXIF's number, 1 to 8; others change nothing.

    Example:
        >>> upright(np.array([[True, False, False]]), 6).astype(int).tolist()
        [[1], [0], [0]]

    """
    if orientation == 2:
        return mask[:, ::-1]
    if orientation == 3:
        return mask[::-1, ::-1]
    if orientation == 4:
        return mask[::-1]
    if orientation == 5:
        return mask.T
    if orientation == 6:
        return np.rot90(mask, -1)
    if orientation == 7:
        return mask[::-1, ::-1].T
    if orientation == 8:
        return np.rot90(mask)
    return mask
