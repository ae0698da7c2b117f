"""Names that marks give to images: their paths, or their places where images are no files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from looksharp.data.split import Split
from looksharp.images.headers import ImageSizes
from looksharp.marks.documents import read_json
from looksharp.marks.values import listed, mapping, text

__all__ = ["HeldSizes", "held_name", "mark_sizes", "names_held_images"]

_HELD = re.compile(r"images/(\d{6,})\.png")


def held_name(index: int) -> str:
    """Return the name of a training image that is no file, by its place.

    Example:
        >>> held_name(12)
        'images/000012.png'

    """
    return f"images/{index:06d}.png"


class HeldSizes(Mapping[str, tuple[int, int]]):
    """(height, width) of each image of a split that is not of files, by `held_name`."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __getitem__(self, name: str) -> tuple[int, int]:
        found = _HELD.fullmatch(name)
        if found is None or int(found[1]) >= len(self._split) or held_name(int(found[1])) != name:
            raise KeyError(name)
        return self._split.size(int(found[1]))

    def __iter__(self) -> Iterator[str]:
        return map(held_name, range(len(self._split)))

    def __len__(self) -> int:
        return len(self._split)

    def __contains__(self, name: object) -> bool:
        found = _HELD.fullmatch(str(name))
        return found is not None and int(found[1]) < len(self._split)


def mark_sizes(split: Split) -> Mapping[str, tuple[int, int]]:
    """Return the upright (height, width) of each image of a split, by the name that marks give it; read when asked."""
    return HeldSizes(split) if split.folder is None else ImageSizes(split.folder, split.names)


def names_held_images(path: Path) -> bool:
    """Return whether a file is COCO's and names images by `held_name`, as suspects and the studio do."""
    if not path.is_file() or path.suffix.lower() != ".json":
        return False
    entries = listed(mapping(read_json(path, "a COCO file")).get("images")) or []
    return any(_HELD.fullmatch(text(mapping(entry).get("file_name")) or "") for entry in entries)
