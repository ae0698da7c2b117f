"""A data set from lists of image files: what the readers of published sets share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch

from looksharp.data.folder import divide
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
    size: int = 224,
    val_share: float = 0.1,
    seed: int = 0,
    regions: Mapping[str, Region] | None = None,
    notes: Mapping[str, int] | None = None,
) -> Data:
    """The data set of these files.

    Args:
        root: the folder that paths are relative to.
        classes: class names.
        files: the images of "train", perhaps "val", and any test splits.
        size: side to which images are brought.
        val_share: share of the training images held out, class by class, where there is no "val"; with 0, validation
            reads the first test split.
        seed: of that division.
        regions: an image's object, of the image's class, by its path; None where nothing is marked.
        notes: counted remarks.

    Raises:
        ValueError: if a class has no image in a split, or too few to hold some out.
    """
    for name, listed in files.items():
        empty = sorted(set(range(len(classes))) - {label for _, label in listed})
        if empty:
            others = f", and {len(empty) - 1} classes more" if len(empty) > 1 else ""
            raise ValueError(f"class {classes[empty[0]]!r} has no {name} image in {root}{others}")
    parts = dict(files)
    if "val" not in parts:
        tests = [name for name in parts if name != "train"]
        parts["val"] = parts[tests[0]]
        if val_share:
            places = divide([label for _, label in parts["train"]], (1 - val_share, val_share), seed)
            parts["train"], parts["val"] = ([files["train"][place] for place in part] for part in places)
    splits: dict[str, Split] = {}
    for name in ("train", "val", *(name for name in parts if name not in ("train", "val"))):
        paths = [path for path, _ in parts[name]]
        labels = [label for _, label in parts[name]]
        splits[name] = FileSplit(
            targets=torch.tensor(labels),
            marks=None if regions is None else _marks_of(paths, labels, regions),
            root=root,
            paths=paths,
        )
    pixels = Pixels((size, size))
    return Data(str(root), tuple(classes), splits, pixels, "resized_crop_flip", notes=dict(notes or {}))


def _marks_of(paths: Sequence[str], labels: Sequence[int], regions: Mapping[str, Region]) -> Marks:
    marked = [place for place, path in enumerate(paths) if path in regions]
    made = MadeMasks(regions[paths[place]] for place in marked)
    return Marks(marked, [labels[place] for place in marked], made)


def find_home(name: str, root: Path, below: Iterable[str], sign: str) -> Path:
    """The folder that holds `sign`: `root`, or the first of the folders `below` it that does.

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
    """Paths, relative to `root`, of the images that lie in its folder `folder`, in order.

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
