"""Facts of each image of a folder, read when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

__all__ = ["OfEachImage"]

T = TypeVar("T")


class OfEachImage(Mapping[str, T]):
    """A fact of each image of a folder, by the image's path below it.

    Args:
        root: the folder.
        paths: the images' paths.
        read: function that reads the fact of a file.
    """

    def __init__(self, root: Path, paths: Iterable[str], read: Callable[[Path], T]) -> None:
        self.root, self.paths, self._read = root, dict.fromkeys(paths), read

    def __getitem__(self, path: str) -> T:
        if path not in self.paths:
            raise KeyError(path)
        return self._read(self.root / path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
