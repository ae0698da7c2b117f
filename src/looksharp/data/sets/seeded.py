"""A data set with the seeds of a folder as marks of its training images: `seeds:FOLDER`.

The folder is one that `looksharp seeds` wrote; it knows whose images have seeds. Segmentation is trained on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from looksharp.data.build import DataConfig, build_data
from looksharp.data.registry import data_source
from looksharp.data.seed_folder import SeedFolder, read_seed_folder
from looksharp.data.split import Data, Split
from looksharp.marks.class_images import UNKNOWN, read_class_image
from looksharp.marks.marks import Marks
from looksharp.marks.regions import ClassMask, MadeMasks
from looksharp.settings import build

__all__ = ["read_seeded", "seed_marks"]


@data_source("seeds")
def read_seeded(source: str, root: Path | None = None) -> Data:
    """Read the data set whose images have seeds, the seeds as marks of its training images.

    The marks of the background are of the class behind the last. Other splits keep their own marks.

    Args:
        source: folder that `looksharp seeds` wrote.
        root: the folder that holds the data set's files, if it was moved.

    Raises:
        ValueError: if the folder or the data set cannot be read, an image has no seeds, or seeds are of another size.
    """
    folder = read_seed_folder(source)
    values = {**folder.data, **({} if root is None else {"root": root})}
    data = build_data(build(DataConfig, values, "data"), folder.seed)
    if data.classes != folder.classes or folder.split not in data.splits:
        raise ValueError(f"{folder.path} is of other images than {data.name}: classes or splits differ")
    split = data.splits[folder.split]
    seeded = replace(split, marks=seed_marks(folder, split))
    splits = {name: each for name, each in data.splits.items() if name not in ("train", folder.split)}
    return replace(data, splits={"train": seeded, **splits})


def seed_marks(folder: SeedFolder, split: Split) -> Marks:
    """Return the seeds of a split's images as marks; the background's class is the number of classes.

    Raises:
        ValueError: if an image has none, or they are of another size or of an unknown class.
    """
    samples: list[int] = []
    labels: list[int] = []
    regions: list[ClassMask] = []
    masks: list[torch.Tensor] = []
    classes = len(folder.classes)
    for place in tqdm(range(len(split)), "reading seeds", disable=len(split) < 2000, leave=False):
        file = folder.file(split.name(place))
        pixels = _checked(folder, file, split, place)
        counts = np.bincount(pixels.numpy().ravel(), minlength=UNKNOWN + 1)
        for index in np.flatnonzero(counts[:UNKNOWN]).tolist():
            samples.append(place)
            labels.append((index - 1) % (classes + 1))
            regions.append(ClassMask(file, index))
            if split.in_memory:
                masks.append(pixels == index)
    found: Sequence[torch.Tensor] = masks if split.in_memory else MadeMasks(regions)
    return Marks(samples, labels, found)


def _checked(folder: SeedFolder, file: Path, split: Split, place: int) -> torch.Tensor:
    if not file.is_file():
        raise ValueError(f"{folder.root} has no seeds of {split.name(place)}; the same looksharp seeds goes on with it")
    pixels, size = read_class_image(file, len(folder.classes)), split.size(place)
    if tuple(pixels.shape) != size:
        raise ValueError(
            f"{file} has {pixels.shape[0]} x {pixels.shape[1]} px, but its image {split.name(place)} has "
            f"{size[0]} x {size[1]}"
        )
    return pixels
