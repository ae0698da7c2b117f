"""Caltech-256, whose images are divided by seed.

From https://data.caltech.edu/records/nyy15-4j048: 256_ObjectCategories.tar, which holds

    256_ObjectCategories/001.ak47/001_0001.jpg ...
    256_ObjectCategories/257.clutter/257_0001.jpg ...

The root holds that folder, or is it, or holds it below caltech256, where torchvision has it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import torch
from annotated_types import Ge

from looksharp.data.listed import Listed, find_home, images_in, listed_data
from looksharp.data.registry import data_set
from looksharp.data.split import Data

__all__ = ["read_caltech256"]

_FOLDER = re.compile(r"\d{3}\..+")
_CLUTTER = "257.clutter"
_TESTED = 25


@data_set("caltech256")
def read_caltech256(root: Path, train_per_class: Annotated[int, Ge(1)] = 60, seed: int = 0) -> Data:
    """Read Caltech-256: per class 25 images to test and 30 or 60 to train, drawn by seed (ICASC appendix A).

    The class "clutter" is left out. The test images of a seed are the same for any number of training images, and a
    smaller number of training images is a subset of a larger one. A class that has fewer images than asked for (the
    smallest have 80, and 25 + 60 are more) trains on all its other images; `notes` says how many such classes there
    are.

    Args:
        root: the folder that holds 256_ObjectCategories.
        train_per_class: training images of each class.
        seed: seed of the draw.

    Raises:
        ValueError: if there is no such folder, or a class has too few images.
    """
    if train_per_class < 1:
        raise ValueError(f"train_per_class must be at least 1; got {train_per_class}")
    home = _home(root)
    folders = sorted(p.name for p in home.iterdir() if p.is_dir() and _FOLDER.fullmatch(p.name) and p.name != _CLUTTER)
    if len(folders) < 2:
        raise ValueError(f"{home} must hold a folder per class, such as 001.ak47; found {len(folders)}")
    generator = torch.Generator().manual_seed(seed)
    train: Listed = []
    test: Listed = []
    short = 0
    for label, folder in enumerate(folders):
        paths = images_in(home, folder)
        if len(paths) <= _TESTED:
            raise ValueError(f"class folder {home / folder} holds {len(paths)} images; {_TESTED} are tested alone")
        order = torch.randperm(len(paths), generator=generator).tolist()
        tested, trained = order[:_TESTED], order[_TESTED : _TESTED + train_per_class]
        test += [(paths[place], label) for place in sorted(tested)]
        train += [(paths[place], label) for place in sorted(trained)]
        short += len(trained) < train_per_class
    notes = {f"classes of fewer than {train_per_class} training images": short} if short else {}
    files = {"train": train, "test": test}
    return listed_data(home, folders, files, notes=notes)


def _home(root: Path) -> Path:
    if (root / "001.ak47").is_dir():
        return root
    below = ("", "caltech256")
    return find_home("caltech256", root, below, "256_ObjectCategories") / "256_ObjectCategories"
