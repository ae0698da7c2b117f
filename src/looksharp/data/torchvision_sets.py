"""CIFAR-10, CIFAR-100 and MNIST, read in their own layouts by torchvision."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import datasets

from looksharp.data.folder import divide
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.tensors import TensorSplit

__all__ = ["TORCHVISION_SETS", "read_torchvision"]

TORCHVISION_SETS = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "mnist": datasets.MNIST}

_STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
}

_DAMAGED = (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AssertionError, UnpicklingError)


def read_torchvision(name: str, root: Path, val_share: float = 0.1, seed: int = 0) -> Data:
    """Read the set from `root`, nothing downloaded; 32 px RGB images in memory (MNIST is padded and tripled).

    Args:
        name: "cifar10", "cifar100" or "mnist".
        root: the folder that holds cifar-10-batches-py, cifar-100-python or MNIST/raw.
        val_share: share of the training images held out for validation; with 0, validation reads the test split.
        seed: of the division.

    Raises:
        ValueError: if the set is not there, or not whole.
    """
    read = TORCHVISION_SETS[name]
    try:
        train, test = (read(root, train=part, download=False) for part in (True, False))
    except _DAMAGED as error:
        reason = (str(error).splitlines() or ["a file is damaged"])[0]  # what torchvision asserts has no message
        raise ValueError(f"{name} was not found whole in {root}: {reason}") from None
    splits: dict[str, Split] = {}
    images, labels = _pixels(train.data), torch.as_tensor(train.targets)
    test_split = TensorSplit(targets=torch.as_tensor(test.targets), images=_pixels(test.data))
    if val_share:
        for part, places in zip(
            ("train", "val"), divide(labels.tolist(), (1 - val_share, val_share), seed), strict=True
        ):
            splits[part] = TensorSplit(targets=labels[places], images=images[places])
    else:
        splits = {"train": TensorSplit(targets=labels, images=images), "val": test_split}
    splits["test"] = test_split
    mean, std = _STATISTICS[name]
    augment = "crop" if name == "mnist" else "crop_flip"
    return Data(name, tuple(train.classes), splits, Pixels((32, 32), mean, std), augment)  # type: ignore[arg-type]


def _pixels(images: np.ndarray | Tensor) -> Tensor:
    """Bytes (N, 3, 32, 32)."""
    tensor = torch.as_tensor(images)
    if tensor.ndim == 3:
        return F.pad(tensor, (2, 2, 2, 2)).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    return tensor.permute(0, 3, 1, 2).contiguous()
