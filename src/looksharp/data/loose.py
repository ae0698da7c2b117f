"""Image files that belong to no data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from looksharp.data.splits.files import FileSplit
from looksharp.images.finding import find_images

__all__ = ["loose_images"]


def loose_images(paths: Sequence[Path]) -> FileSplit:
    """Return image files, and those in folders and below them, as a split; the target of each is 0.

    Args:
        paths: image files and folders. Images are called by their path below the one folder, or by the path given.

    Raises:
        ValueError: if a folder holds no image.
    """
    root = paths[0] if len(paths) == 1 and paths[0].is_dir() else Path()
    names: list[str] = []
    for path in paths:
        found = find_images(path) if path.is_dir() else [path]
        if not found:
            raise ValueError(f"{path} holds no image")
        names += [os.path.relpath(each, root) if root != Path() else str(each) for each in found]
    return FileSplit(targets=torch.zeros(len(names), dtype=torch.long), root=root, paths=names)
