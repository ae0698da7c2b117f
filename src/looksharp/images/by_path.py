"""A fact of each image file of a folder, read when asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

__all__ = ["ByPath"]

T = TypeVar("T")


class ByPath(Mapping[str, T]):
    """A fact of each image of a folder by its path, read from the file when asked for.

    Args:
        root: the folder.
        paths: the images' paths below it.
    """

    def __init__(self, root: Path, paths: Iterable[str]) -> None:
        self.root, self.paths = root, dict.fromkeys(paths)

    @abstractmethod
    def read(self, file: Path) -> T:
        """Return the fact of one file."""

    def __getitem__(self, path: str) -> T:
        if path not in self.paths:
            raise KeyError(path)
        return self.read(self.root / path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)
