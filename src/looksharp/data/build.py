"""A data set from a name and a few settings, and what is guided in it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from looksharp.data.registry import DATA_SETS, SOURCES
from looksharp.data.split import Data

__all__ = ["DataConfig", "build_data"]


@dataclass(frozen=True)
class DataConfig:
    """Which images.

    Args:
        data: digits, biased_digits, cluttered_digits, cluttered_mnist, cifar10, cifar100, mnist, svhn, imagenet,
            caltech256, cub200, stanford_cars, stanford_dogs, voc, coco, celeba, compcars_model, compcars_maker,
            adience_gender, adience_age, uec_food100, waterbirds, or an image folder (train/CLASS/..., with val and
            test folders beside it; or CLASS/..., divided by seed). hf:NAME_OR_PATH is what Hugging Face's datasets
            reads, wds:PATTERN WebDataset's shards, such as wds:shards/train-{0000..0009}.tar, by path or URL.
        root: the folder that holds the files of a set that is read, such as cifar10 or voc.
        image_size: side to which image files are brought, in pixels.
        val_share: share of the training images held out for validation where the set has no validation split;
            with 0, validation reads the test split.
        train_size: training images of sets that are made: digits, biased_digits and the cluttered ones.
        val_size: validation images of the cluttered sets.
        test_size: images of each test split of the cluttered sets.
        rho: probability that the cue of biased_digits follows the class in training.
        svhn_extra: add the 531,131 extra images of svhn to those of training.
        train_per_class: training images of each class of caltech256: 30, or 60 if not given.
        guidance_from: what marks the birds of cub200: boxes, parts (discs around those that are visible) or masks.
        voc_set: the images of voc: main or segmentation, or augmented, those of segmentation and SBD's; those of main,
            where they are listed, if not given.
        fold: which of the five folds of adience or uec_food100 is tested on, 0 to 4; the others are trained on.
        crop_to_boxes: cut the images of compcars and uec_food100 out by their boxes; if false, images are whole and
            the boxes are their masks.
        label_column: the column of an hf: set that holds the labels, where several could.
        val_shards: the shards of a wds: set to validate on; the last of its shards, a share of val_share, if not
            given.
        distractors: pieces of other digits in an image of the cluttered sets.
        test_distractors: other numbers of them that the cluttered sets are tested with, each a split of its own.
        crop_share: of image files, the side of the middle that is evaluated as a share of the resized image's shorter
            side: 0.875 cuts 224 pixels from 256; with 1 images are resized to fit.
    """

    data: str = "digits"
    root: Path | None = None
    image_size: int | None = None
    val_share: float = 0.1
    train_size: int = 6000
    val_size: int = 1000
    test_size: int = 2000
    rho: float = 0.98
    svhn_extra: bool = False
    train_per_class: int | None = None
    guidance_from: Literal["boxes", "parts", "masks"] = "boxes"
    voc_set: Literal["main", "segmentation", "augmented"] | None = None
    fold: int = 0
    crop_to_boxes: bool = True
    label_column: str | None = None
    val_shards: str | None = None
    distractors: int = 8
    test_distractors: list[int] | None = field(default=None, hash=False)  # lists have no hash; settings have one
    crop_share: float = 1.0


def build_data(config: DataConfig, seed: int = 0) -> Data:
    """Read or make the data set.

    Raises:
        ValueError: if there is no such set or folder, or if it is not laid out as it should be.
    """
    if not 0 <= config.val_share < 1:
        raise ValueError(f"val_share must be at least 0 and below 1; got {config.val_share}")
    sizes = {"train": config.train_size, "val": config.val_size, "test": config.test_size}
    for part, size in sizes.items():
        if size < 1:
            raise ValueError(f"{part}_size must be at least 1; got {size}")
    if config.image_size is not None and config.image_size < 1:
        raise ValueError(f"image_size must be at least 1 pixel; got {config.image_size}")
    if not 0 < config.crop_share <= 1:
        raise ValueError(f"crop_share must be above 0 and at most 1; got {config.crop_share}")
    data = _read(config, seed)
    if config.crop_share == 1:
        return data
    if any(split.in_memory for split in data.splits.values()):
        raise ValueError(f"crop_share is for data sets of image files; {config.data} is held in memory")
    return replace(data, pixels=replace(data.pixels, crop_share=config.crop_share))


def _read(config: DataConfig, seed: int) -> Data:
    name = config.data
    if name in DATA_SETS:
        made = DATA_SETS[name]
        if "root" in made.settings and config.root is None:
            raise ValueError(f"root must name the folder that holds {name}'s files; nothing is downloaded")
        return made.load()(**made.arguments(config, seed))
    prefix, colon, source = name.partition(":")
    if colon and prefix in SOURCES:
        made = SOURCES[prefix]
        return made.load()(source, **made.arguments(config, seed))
    folder = Path(name)
    if not folder.exists() and folder.name == name:
        close = difflib.get_close_matches(name, DATA_SETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(DATA_SETS)}"
        raise ValueError(f"data {name!r} is neither a folder nor a set that is known; {hint}")
    from looksharp.data.folder import read_folder

    return read_folder(folder, config.image_size, config.val_share, seed)
