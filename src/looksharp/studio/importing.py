"""Marks read from a file or folder that a person names in the page."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from looksharp.marks.mark import Mark

if TYPE_CHECKING:
    from looksharp.data.split import Data

__all__ = ["import_marks", "within"]

_LARGEST = 256 << 20  # bytes


def within(folders: Sequence[Path], name: str) -> Path:
    """Return a file or folder inside one of some folders.

    Args:
        folders: the folders, the first ones first.
        name: its path from one of them, or a whole path.

    Raises:
        ValueError: if there is none, or it lies elsewhere, links followed.
    """
    for folder in (each.resolve() for each in folders):
        try:
            found = (folder / name.strip()).resolve()
            if found != folder and found.is_relative_to(folder) and found.exists():
                return found
        except (ValueError, OSError):  # a null byte, a loop of links, a name too long
            continue
    listed = " or ".join(map(str, folders))
    raise ValueError(f"there are no marks {name!r:.200} in {listed}: copy them there")


def import_marks(path: Path, data: Data) -> list[Mark]:
    """Read marks of a data set's images, in any format that `--marks` reads.

    Args:
        path: the file or folder.
        data: the images; those of every split that lies in the folder of the training images.

    Raises:
        ValueError: if it is too large, of no known format, damaged, or marks none of the images.
    """
    from looksharp.data.mark_names import held_name
    from looksharp.data.marked import choose_marked, read_marks_of
    from looksharp.training.settings import MarksConfig

    size = 0
    for file in _files(path):
        size += file.stat().st_size
        if size > _LARGEST:
            raise ValueError(
                f"{path} has more than {_LARGEST >> 20} MiB: name a part of it, or cure with --marks {path}"
            )
    choice, train = MarksConfig(str(path)), data.splits["train"]
    if train.folder is not None:
        names = [name for split in data.splits.values() if split.folder == train.folder for name in split.names]
        return list(read_marks_of(path, train.folder, dict.fromkeys(names), data, choice).marks)
    marks = choose_marked(data, choice, 0).splits["train"].marks
    assert marks is not None  # as a choice of marks says
    rows = zip(marks.samples, marks.labels, marks.masks, strict=True)
    return [Mark(held_name(image), data.classes[label], mask.bool().numpy()) for image, label, mask in rows]


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder) / name for name in names if (Path(folder) / name).is_file())
