"""ImageNet, the classification set of ILSVRC2012, in torchvision's layout.

From https://image-net.org/download (an account is needed): ILSVRC2012_img_train.tar, whose archives become a folder
each, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz. The root holds

    train/n01440764/n01440764_18.JPEG ...
    val/n01440764/ILSVRC2012_val_00000293.JPEG ..., or val/ILSVRC2012_val_00000001.JPEG ... as they come
    meta.bin (which torchvision writes), ILSVRC2012_devkit_t12 or ILSVRC2012_devkit_t12.tar.gz

The last names the classes, and tells those of validation images that lie together; where these are in folders it may be
missing, and classes are called by their WordNet IDs. Fewer classes (such as ImageNet-100) are read as well.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

from torchvision.datasets.imagenet import load_meta_file

from looksharp.data.listed import Listed, images_in, listed_data
from looksharp.data.matlab import read_mat
from looksharp.data.registry import data_set
from looksharp.data.split import Data

__all__ = ["read_imagenet"]

_DEVKIT = "ILSVRC2012_devkit_t12"
_META, _TRUTH = "data/meta.mat", "data/ILSVRC2012_validation_ground_truth.txt"
_UNREADABLE = (OSError, EOFError, LookupError, ValueError, TypeError, RuntimeError, UnpicklingError, tarfile.TarError)
_IMAGE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


@data_set("imagenet")
def read_imagenet(root: Path) -> Data:
    """Read ImageNet: classes in the order of their WordNet IDs, splits "train" and "val"; results are those on val.

    A class has its first name ("tench"), and its ID too where the name is ambiguous ("crane (n02012849)").

    Args:
        root: the folder that holds train and val.

    Raises:
        ValueError: if a folder or class is missing or empty, the devkit is damaged, or does not fit the images.
    """
    for name in ("train", "val"):
        if not (root / name).is_dir():
            raise ValueError(f"imagenet was not found whole in root {root}: there is no folder {root / name}")
    ids = _folders(root / "train")
    if len(ids) < 2:
        raise ValueError(f"{root / 'train'} must hold a folder per class, such as n01440764; found {len(ids)}")
    devkit = _devkit(root)
    train = [(path, label) for label, wnid in enumerate(ids) for path in images_in(root, f"train/{wnid}")]
    folders = _folders(root / "val")
    extra = sorted(set(folders) - set(ids))
    if extra:
        raise ValueError(f"{root / 'val'} has a class that train lacks: {extra[0]!r}")
    if folders:
        val = [(path, label) for label, wnid in enumerate(ids) for path in images_in(root, f"val/{wnid}")]
    else:
        val = _flat(root, ids, devkit)
    classes = ids if devkit is None else _names(ids, devkit.names, devkit.source)
    return listed_data(root, classes, {"train": train, "val": val})


@dataclass(frozen=True)
class _Devkit:
    source: Path
    names: dict[str, str]  # by WordNet ID
    val: list[str]  # the WordNet ID of each validation image


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.name[0] != "." and entry.is_dir())


def _flat(root: Path, ids: list[str], devkit: _Devkit | None) -> Listed:
    """Return the validation images that lie together, by their numbers."""
    paths = {int(match[1]): path for path in images_in(root, "val") if (match := _IMAGE.fullmatch(Path(path).name))}
    if devkit is None:
        raise ValueError(f"{root / 'val'} has no folder per class, and {root} no {_DEVKIT} to tell its images' classes")
    missing = [number for number in range(1, len(devkit.val) + 1) if number not in paths]
    if missing:
        raise ValueError(
            f"{root / 'val'} has {len(paths)} images of the {len(devkit.val)} in {devkit.source}: there is no "
            f"ILSVRC2012_val_{missing[0]:08}.JPEG"
        )
    labels = {wnid: label for label, wnid in enumerate(ids)}
    unknown = next((wnid for wnid in devkit.val if wnid not in labels), None)
    if unknown is not None:
        raise ValueError(f"{root / 'val'} has a class that train lacks: {unknown!r}, by {devkit.source}")
    return [(paths[number], labels[wnid]) for number, wnid in enumerate(devkit.val, 1)]


def _names(ids: list[str], names: dict[str, str], source: Path) -> list[str]:
    unknown = next((wnid for wnid in ids if wnid not in names), None)
    if unknown is not None:
        raise ValueError(f"{source} has no class {unknown!r}, though there is a folder of that name in train")
    times = Counter(names[wnid] for wnid in ids)
    return [names[wnid] if times[names[wnid]] == 1 else f"{names[wnid]} ({wnid})" for wnid in ids]


def _devkit(root: Path) -> _Devkit | None:
    meta, folder, archive = root / "meta.bin", root / _DEVKIT, root / f"{_DEVKIT}.tar.gz"
    if meta.is_file():
        try:
            names, val = load_meta_file(root)
            return _Devkit(meta, {wnid: synonyms[0] for wnid, synonyms in names.items()}, list(val))
        except _UNREADABLE as error:
            raise ValueError(f"{meta} cannot be read: {_first_line(error)}; remove it, and keep the devkit") from None
    if folder.is_dir():
        missing = next((name for name in (_META, _TRUTH) if not (folder / name).is_file()), None)
        if missing is not None:
            raise ValueError(f"{folder / missing} does not exist")
        return _parsed(folder, (folder / _META).read_bytes(), (folder / _TRUTH).read_bytes())
    if not archive.is_file():
        return None
    try:
        with tarfile.open(archive) as tar:
            parts = [tar.extractfile(f"{_DEVKIT}/{name}") for name in (_META, _TRUTH)]
            content = [part.read() for part in parts if part is not None]
    except _UNREADABLE as error:
        raise ValueError(f"{archive} cannot be read as a devkit: {_first_line(error)}") from None
    return _parsed(archive, *content)


def _parsed(source: Path, meta: bytes, truth: bytes) -> _Devkit:
    (synsets,) = read_mat(source / _META, ["synsets"], io.BytesIO(meta))
    try:
        leaves = synsets[synsets["num_children"] == 0]  # the others are groups of classes
        ids = {int(number): str(wnid) for number, wnid in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
        names = {str(row["WNID"]): str(row["words"]).split(", ")[0] for row in leaves}
        return _Devkit(source, names, [ids[int(line)] for line in truth.split()])
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError(f"{source} is no devkit of ILSVRC2012: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
