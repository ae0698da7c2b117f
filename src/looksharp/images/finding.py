"""Image files found in folders."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from torchvision.datasets.folder import IMG_EXTENSIONS

from looksharp.images.opening import one_line

__all__ = ["SUFFIXES", "find_images", "is_image_name"]

SUFFIXES = frozenset(IMG_EXTENSIONS) | {".apng", ".avif", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".mpo"}
"""Suffixes of image files, in lower case."""

_NOT_READ = frozenset(
    ".arw .cr2 .cr3 .dcm .dng .eps .exr .hdr .ico .jp2 .jxl .nef .npy .orf .pdf .psd .raf .raw .svg .tga .xcf".split()
)
"""Suffixes of pictures that are left out with a remark; other files beside images are ignored."""


def is_image_name(name: str) -> bool:
    """Return whether a file is an image by its name; hidden files are not, and dots at the end do not matter.

    Example:
        >>> [is_image_name(name) for name in ("a.JPG", "a.png.", "._a.jpg", "a.txt")]
        [True, True, False, False]

    """
    return not name.startswith(".") and PurePath(name.rstrip(". ")).suffix.lower() in SUFFIXES


def find_images(folder: Path, *, below: bool = True, others: Counter[str] | None = None) -> list[Path]:
    """Return the image files in a folder, in order.

    Args:
        folder: the folder to search.
        below: search the folders below it too; links to folders are not followed.
        others: counter, by suffix, of pictures in formats that are not read.

    Raises:
        ValueError: if something with the name of an image is no file, as a named pipe is not.
        OSError: if a folder cannot be read.
    """
    found = []
    for entry in _entries(folder, below):
        if is_image_name(entry.name):
            if not entry.is_file():
                raise ValueError(f"{one_line(entry.path)} is no regular file; remove it")
            found.append(Path(entry.path))
        elif others is not None and (suffix := PurePath(entry.name).suffix.lower()) in _NOT_READ:
            others[suffix] += 1
    return sorted(found)


def _entries(folder: Path, below: bool) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield entry
            elif below:
                yield from _entries(Path(entry.path), below)
