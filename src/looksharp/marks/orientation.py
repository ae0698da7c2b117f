"""Marks turned as EXIF turns the image they belong to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["upright"]


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
