"""A data set from lists of image files, for readers of published sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import FileSplit
from looksharp.images.finding import find_images
from looksharp.marks.marks import Marks
from looksharp.marks.regions import MadeMasks, Region

__all__ = ["Listed", "check_files", "find_home", "images_in", "listed_data"]

Listed = list[tuple[str, int]]
"""(path relative to the data's folder, class index) of each image."""


def listed_data(
    root: Path,
    classes: Sequence[str],
    files: Mapping[str, Listed],
    *,
    regions: Mapping[str, Region] | None = None,
    notes: Mapping[str, int] | None = None,
) -> Data:
    """Make a data set of image files, read at 224 pixels a side.

    Args:
        root: the folder that paths are relative to.
        classes: class names.
        files: the images of "train", perhaps "val", and any test splits.
        regions: image path -> its object, of the image's class; None where nothing is marked.
        notes: counted remarks.

    Raises:
        ValueError: if a class has no image in a split.
    """
    splits: dict[str, Split] = {}
    for name, listed in files.items():
        empty = sorted(set(range(len(classes))) - {label for _, label in listed})
        if empty:
            others = f", and {len(empty) - 1} classes more" if len(empty) > 1 else ""
            raise ValueError(f"class {classes[empty[0]]!r} has no {name} image in {root}{others}")
        paths, labels = [path for path, _ in listed], [label for _, label in listed]
        marks = None if regions is None else _marks_of(paths, labels, regions)
        splits[name] = FileSplit(targets=torch.tensor(labels), marks=marks, root=root, paths=paths)
    return Data(str(root), tuple(classes), splits, Pixels((224, 224)), "resized_crop_flip", notes=dict(notes or {}))


def _marks_of(paths: Sequence[str], labels: Sequence[int], regions: Mapping[str, Region]) -> Marks:
    marked = [place for place, path in enumerate(paths) if path in regions]
    made = MadeMasks(regions[paths[place]] for place in marked)
    return Marks(marked, [labels[place] for place in marked], made)


def find_home(name: str, root: Path, below: Iterable[str], sign: str) -> Path:
    """Return the folder that holds `sign`: `root`, or the first of the folders `below` it that does.

    Raises:
        ValueError: if none does.
    """
    folders = [root, *(root / folder for folder in below)]
    home = next((folder for folder in folders if (folder / sign).exists()), None)
    if home is None:
        looked = " or ".join(str(folder / sign) for folder in folders)
        raise ValueError(f"{name} was not found in root {root}: there is no {looked}")
    return home


def check_files(root: Path, paths: Iterable[str], source: str) -> None:
    """Raise ValueError, naming the first and how many, if files that `source` lists are missing."""
    missing = [path for path in paths if not (root / path).is_file()]
    if missing:
        others = f", nor do {len(missing) - 1} others" if len(missing) > 1 else ""
        raise ValueError(f"{root / missing[0]} does not exist, though {source} lists it{others}")


def images_in(root: Path, folder: str) -> list[str]:
    """List the images in the folder `folder`, as paths relative to `root`, in order.

    Raises:
        ValueError: if there is no such folder, or no image in it.
    """
    where = root / folder
    if not where.is_dir():
        raise ValueError(f"class folder {where} does not exist")
    found = [path.name for path in find_images(where, below=False)]
    if not found:
        raise ValueError(f"class folder {where} holds no image")
    return [f"{folder}/{name}" for name in found]
