"""A data set from a name and a few settings, and what is guided in it."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

from looksharp.data.split import Data

__all__ = ["DataConfig", "build_data"]


@dataclass(frozen=True)
class DataConfig:
    """Which images.

    Args:
        data: digits, biased_digits, cluttered_digits, cluttered_mnist, cifar10, cifar100, mnist, voc, or an image
            folder (train/CLASS/..., with val and test folders beside it; or CLASS/..., divided by seed).
        root: the folder that holds the files of cifar10, cifar100, mnist (cluttered or not) or voc.
        image_size: side to which images of a folder are brought, in pixels.
        val_share: share of the training images held out for validation where the set has no validation split;
            with 0, validation reads the test split.
        train_size: training images of sets that are made: digits, biased_digits and the cluttered ones.
        val_size: validation images of the cluttered sets.
        test_size: images of each test split of the cluttered sets.
        rho: probability that the cue of biased_digits follows the class in training.
        distractors: pieces of other digits in an image of the cluttered sets.
        test_distractors: other numbers of them that the cluttered sets are tested with, each a split of its own.
    """

    data: str = "digits"
    root: Path | None = None
    image_size: int | None = None
    val_share: float = 0.1
    train_size: int = 6000
    val_size: int = 1000
    test_size: int = 2000
    rho: float = 0.98
    distractors: int = 8
    test_distractors: list[int] | None = field(default=None, hash=False)  # lists have no hash; settings have one


_PUBLISHED = ("cluttered_mnist", "cifar10", "cifar100", "mnist", "voc")
_KNOWN = ("digits", "biased_digits", "cluttered_digits", *_PUBLISHED)


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
    name = config.data
    if name == "digits":
        from looksharp.data.synthetic import digits

        return digits(config.train_size, seed=seed)
    if name == "biased_digits":
        from looksharp.data.synthetic import biased_digits

        return biased_digits(config.rho, config.train_size, seed=seed)
    if name == "cluttered_digits":
        from looksharp.data.cluttered import cluttered_digits

        return cluttered_digits(config.distractors, **sizes, test_distractors=config.test_distractors, seed=seed)
    if name in _PUBLISHED:
        if config.root is None:
            raise ValueError(f"root must name the folder that holds {name}'s files; nothing is downloaded")
        if name == "voc":
            from looksharp.data.pascal import read_pascal

            return read_pascal(config.root, config.image_size or 224)
        if name == "cluttered_mnist":
            from looksharp.data.cluttered import cluttered_mnist

            return cluttered_mnist(
                config.root,
                config.distractors,
                **sizes,
                test_distractors=config.test_distractors,
                val_share=config.val_share,
                seed=seed,
            )
        from looksharp.data.torchvision_sets import read_torchvision

        return read_torchvision(name, config.root, config.val_share, seed)
    folder = Path(name)
    if not folder.exists() and folder.name == name:
        close = difflib.get_close_matches(name, _KNOWN, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(_KNOWN)}"
        raise ValueError(f"data {name!r} is neither a folder nor a set that is known; {hint}")
    from looksharp.data.folder import read_folder

    return read_folder(folder, config.image_size, config.val_share, seed)
