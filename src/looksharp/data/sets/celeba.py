"""CelebA: 202,599 faces of celebrities with 40 attributes, each there or not (Liu et al. 2015); read by torchvision.

From http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, img_align_celeba.zip unpacked:

    celeba/img_align_celeba/000001.jpg ...
    celeba/list_attr_celeba.txt, list_eval_partition.txt, identity_CelebA.txt, list_bbox_celeba.txt,
    celeba/list_landmarks_align_celeba.txt
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torchvision.datasets import CelebA
from torchvision.datasets.utils import check_integrity

from looksharp.data.listed import check_files
from looksharp.data.registry import data_set
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.files import FileSplit

__all__ = ["read_celeba"]

_DAMAGED = (RuntimeError, OSError, LookupError, ValueError, TypeError)
_SPLITS = ("train", "val", "test")  # as list_eval_partition.txt numbers them
_IMAGES = "img_align_celeba"


@data_set("celeba")
def read_celeba(root: Path, train_on_val: bool = False) -> Data:
    """Read the published splits, with the attributes as a multi-hot target.

    Args:
        root: the folder that holds celeba.
        train_on_val: train on the validation images too, 182,637 in all as in ABN (sec. 4.4); validation then reads
            the test split.

    Raises:
        ValueError: if a table or an image is missing, a table is damaged, or a split lacks an attribute.
    """
    home = root / "celeba"
    _check_layout(home)
    try:
        read = CelebA(root, split="all", download=False)
        lines = [line.split() for line in (home / "list_eval_partition.txt").read_text().splitlines() if line]
        parts = torch.tensor([int(part) for _, part in lines])
    except _DAMAGED as error:
        raise ValueError(f"celeba was not found whole in {home}: {str(error).splitlines()[0]}") from None
    names = [str(name) for name in read.filename]
    check_files(home / _IMAGES, names, "list_eval_partition.txt")
    classes = tuple(name for name in read.attr_names if name)  # a line that ends in a space has an empty one
    places = {name: (parts == number).nonzero().flatten() for number, name in enumerate(_SPLITS)}
    if train_on_val:
        places["train"], places["val"] = torch.cat([places["train"], places["val"]]), places["test"]
    splits: dict[str, Split] = {}
    for name in _SPLITS:
        _check_classes(read.attr[places[name]], name, classes, home)
        splits[name] = FileSplit(
            targets=read.attr[places[name]].float(),
            root=home / _IMAGES,
            paths=[names[place] for place in places[name].tolist()],
        )
    return Data(str(home), classes, splits, Pixels((224, 224)), "resize_crop_flip")


def _check_layout(home: Path) -> None:
    """Raise ValueError, naming it, if a file that torchvision looks for is missing or damaged."""
    if not (home / _IMAGES).is_dir():
        raise ValueError(f"{home / _IMAGES} does not exist; unpack img_align_celeba.zip there")
    for _, md5, name in CelebA.file_list:
        if name.endswith(".txt") and not check_integrity(home / name, md5):
            raise ValueError(f"{home / name} " + ("is damaged" if (home / name).is_file() else "does not exist"))


def _check_classes(targets: Tensor, split: str, classes: Sequence[str], home: Path) -> None:
    """Raise ValueError unless there are images, and each attribute (N, 40) is there in one."""
    if not len(targets):
        raise ValueError(f"{home / 'list_eval_partition.txt'} lists no {split} image")
    found = targets.sum(0)
    for label, name in enumerate(classes):
        if not found[label]:
            raise ValueError(f"class {name!r} has no {split} image in {home}")
