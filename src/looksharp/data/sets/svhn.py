"""Street View House Numbers, cropped digits, read by torchvision.

From http://ufldl.stanford.edu/housenumbers: "Format 2", the files train_32x32.mat (73,257 digits), test_32x32.mat
(26,032) and, of easier digits, extra_32x32.mat (531,131). The root holds these files.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.datasets import SVHN

from looksharp.data.registry import data_set
from looksharp.data.sets.torchvision_sets import DAMAGED
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.memory import TensorSplit

__all__ = ["read_svhn"]

_PIXELS = Pixels((32, 32), (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))


@data_set("svhn")
def read_svhn(root: Path, extra: bool = False) -> Data:
    """Read SVHN: ten classes, "0" to "9", of 32 px images in memory.

    Args:
        root: the folder that holds the .mat files.
        extra: add the extra digits to those of training, as ABN does (Sec. 4.1): 604,388 images, which take
            1.9 GB and several times that while they are read.

    Raises:
        ValueError: if a file is missing or damaged.
    """
    train = _read(root, "train")
    if extra:
        more = _read(root, "extra")
        train = TensorSplit(
            targets=torch.cat([train.targets, more.targets]), images=torch.cat([train.images, more.images])
        )
    splits: dict[str, Split] = {"train": train, "test": _read(root, "test")}
    return Data("svhn", tuple("0123456789"), splits, _PIXELS, "crop_flip")


def _read(root: Path, split: str) -> TensorSplit:
    path = root / SVHN.split_list[split][1]
    if not path.is_file():
        raise ValueError(f"svhn was not found whole in {root}: there is no {path.name}")
    try:
        read = SVHN(root, split=split, download=False)
    except DAMAGED:  # torchvision compares the file's MD5 sum
        raise ValueError(f"svhn was not found whole in {root}: {path.name} is damaged; copy it again") from None
    return TensorSplit(targets=torch.from_numpy(read.labels), images=torch.from_numpy(read.data).contiguous())
