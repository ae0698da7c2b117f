"""Image folders: ROOT/train/CLASS/*, with val and test splits beside it, or ROOT/CLASS/* divided by seed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import torch

from looksharp.data.hold_out import UNDIVIDED
from looksharp.data.split import Augment, Data, Pixels, Split
from looksharp.data.splits.files import SMALL, FileSplit
from looksharp.data.tables import read_rows
from looksharp.images.finding import find_images
from looksharp.images.headers import ImageSizes, read_size
from looksharp.images.opening import one_line
from looksharp.marks.marks import Marks
from looksharp.marks.reading import ReadMarks, read_marks

__all__ = ["check_class_folder", "marks_of", "read_folder"]

_LONGEST_NAME = 255  # bytes that file systems allow
_MASKS = ("masks", "cues")
_VALIDATION = ("val", "valid", "validation")


def read_folder(root: Path, size: int | tuple[int, int] | None = None) -> Data:
    """Read the layout ROOT/train/CLASS/IMAGE, or ROOT/CLASS/IMAGE, which is one split, "all", yet to be divided.

    Beside train there may be val and any folders whose names begin with "test". Masks in ROOT/masks (the image's
    relative path, any image suffix) serve to measure, and as marks ("--marks data"); ROOT/cues, likewise, says where a
    cue was planted, by which `looksharp mechanisms` judges; ROOT/groups.csv (columns path, group) gives groups.

    Args:
        root: the folder.
        size: side to which images are resized, or (height, width). If not given it is that of the first image, if
            that is square and small, else 224.

    Raises:
        ValueError: if the folder or a class is missing or empty, there is one class only, splits disagree about
            classes, or a file is no image; in one line that names it.
    """
    if not root.is_dir():
        raise ValueError(f"data folder {one_line(root)} does not exist")
    roots = _roots(root)
    classes = _classes(next(iter(roots.values())), ignore=_MASKS if UNDIVIDED in roots else ())
    others: Counter[str] = Counter()
    files = {name: _files(root, folder, classes, others) for name, folder in roots.items()}
    pixels = Pixels(_size(root / next(iter(files.values()))[0][0], size))
    (masks, notes), (cues, of_cues) = (_masks(root / name, root, files, classes) for name in _MASKS)
    groups, group_names = _groups(root)
    splits: dict[str, Split] = {}
    for name, listed in files.items():
        paths = [path for path, _ in listed]
        splits[name] = FileSplit(
            targets=torch.tensor([label for _, label in listed]),
            marks=marks_of(masks, paths, classes) if masks else None,
            groups=_groups_of(root, paths, groups) if groups else None,
            cues=marks_of(cues, paths, classes) if cues else None,
            root=root,
            paths=paths,
        )
    augment: Augment = "crop_flip" if max(pixels.size) <= SMALL else "resized_crop_flip"
    notes |= of_cues | {
        f"pictures in a format that is not read: {suffix}": count for suffix, count in sorted(others.items())
    }
    return Data(str(root), classes, splits, pixels, augment, group_names, notes)


def _roots(root: Path) -> dict[str, Path]:
    """Return the folder of each split, training first."""
    train = root / "train"
    if not train.is_dir():
        return {UNDIVIDED: root}
    roots = {"train": train}
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        if folder.name in _VALIDATION:
            roots["val"] = folder
        elif folder.name.startswith("test"):
            roots[folder.name] = folder
    return roots


def check_class_folder(name: str) -> None:
    """Check that a class can have a folder of its name.

    Raises:
        ValueError: if the name is empty, hidden, too long, or leads out of the folder above it.
    """
    if not name or name.startswith(".") or set(name) & set("/\\\0") or not name.isprintable():
        raise ValueError(
            f"class {name!r} cannot have a folder of its name; give a name that does not begin with a dot and has no "
            f"slash or line break"
        )
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise ValueError(f"class {name[:40]!r}... has a name of {len(name)} characters, too many for its folder")


def marks_of(read: ReadMarks, paths: list[str], classes: tuple[str, ...]) -> Marks:
    """Return the marks of these images, by their places."""
    places = {path: place for place, path in enumerate(paths)}
    found = [a for a in read.marks if a.image in places]
    return Marks(
        [places[a.image] for a in found],
        [classes.index(a.label) for a in found],
        [torch.from_numpy(a.mask) for a in found],
    )


def _classes(folder: Path, ignore: tuple[str, ...]) -> tuple[str, ...]:
    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name not in ignore and p.name[0] != ".")
    if len(names) < 2:
        found = f"only {names[0]!r}" if names else "none"
        raise ValueError(f"{folder} must hold a folder per class, at least two; found {found}")
    return tuple(names)


def _files(root: Path, folder: Path, classes: tuple[str, ...], others: Counter[str]) -> list[tuple[str, int]]:
    """Return (path relative to the root, class index) of every image, class by class; count other files."""
    extra = {p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != "."} - {*classes, *_MASKS}
    if extra:
        raise ValueError(f"{one_line(folder)} has a class that train lacks: {min(extra)!r}")
    files = []
    for label, name in enumerate(classes):
        where = folder / name
        found = find_images(where, others=others) if where.is_dir() else []
        if not found:
            problem = "holds no image" if where.is_dir() else "does not exist"
            raise ValueError(f"class folder {one_line(where)} {problem}")
        files += [(p.relative_to(root).as_posix(), label) for p in found]
    return files


def _size(first: Path, size: int | tuple[int, int] | None) -> tuple[int, int]:
    if size is not None:
        return (size, size) if isinstance(size, int) else size
    height, width = read_size(first)
    return (height, width) if height == width <= SMALL else (224, 224)


def _masks(
    folder: Path, root: Path, files: dict[str, list[tuple[str, int]]], classes: tuple[str, ...]
) -> tuple[ReadMarks | None, dict[str, int]]:
    if not folder.is_dir():
        return None, {}
    paths = [path for listed in files.values() for path, _ in listed]
    found = read_marks(folder, ImageSizes(root, paths), classes)
    return found, dict(found.skipped)


def _groups(root: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    table = root / "groups.csv"
    if not table.is_file():
        return {}, ()
    rows = read_rows(table)
    if not rows or not all(row.get("path") and row.get("group") for row in rows):
        raise ValueError(f"{table} must have the columns path and group, both filled in every row")
    names = tuple(sorted({row["group"] for row in rows}))
    return {row["path"]: names.index(row["group"]) for row in rows}, names


def _groups_of(root: Path, paths: list[str], groups: dict[str, int]) -> torch.Tensor:
    missing = next((path for path in paths if path not in groups), None)
    if missing is not None:
        raise ValueError(f"{root / 'groups.csv'} has no group for {missing}")
    return torch.tensor([groups[path] for path in paths])
