"""CIFAR-10, CIFAR-100 and MNIST, read in their own layouts by torchvision."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision import datasets

from looksharp.data.registry import data_set
from looksharp.data.split import Augment, Data, Pixels, Split
from looksharp.data.splits.memory import TensorSplit

__all__ = ["DAMAGED", "TORCHVISION_SETS", "read_torchvision"]

TORCHVISION_SETS = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100, "mnist": datasets.MNIST}

_STATISTICS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307, 0.1307, 0.1307), (0.3081, 0.3081, 0.3081)),
}

DAMAGED = (RuntimeError, OSError, EOFError, LookupError, ValueError, TypeError, AssertionError, UnpicklingError)
"""Errors that torchvision raises for files that are missing or damaged."""


@data_set("cifar10", name="cifar10")
@data_set("cifar100", name="cifar100")
@data_set("mnist", name="mnist")
def read_torchvision(name: Literal["cifar10", "cifar100", "mnist"], root: Path) -> Data:
    """Read the set from `root`, nothing downloaded; 32 px RGB images in memory (MNIST is padded and tripled).

    Args:
        name: "cifar10", "cifar100" or "mnist".
        root: the folder that holds cifar-10-batches-py, cifar-100-python or MNIST/raw.

    Raises:
        ValueError: if the set is not there, or not whole.
    """
    read = TORCHVISION_SETS[name]
    try:
        train, test = (read(root, train=part, download=False) for part in (True, False))
    except DAMAGED as error:
        reason = (str(error).splitlines() or ["a file is damaged"])[0]  # what torchvision asserts has no message
        raise ValueError(f"{name} was not found whole in {root}: {reason}") from None
    splits: dict[str, Split] = {
        split: TensorSplit(targets=torch.as_tensor(part.targets), images=_pixels(part.data))
        for split, part in (("train", train), ("test", test))
    }
    mean, std = _STATISTICS[name]
    augment: Augment = "crop" if name == "mnist" else "crop_flip"
    return Data(name, tuple(train.classes), splits, Pixels((32, 32), mean, std), augment)


def _pixels(images: np.ndarray | Tensor) -> Tensor:
    """Convert to bytes (N, 3, 32, 32)."""
    tensor = torch.as_tensor(images)
    if tensor.ndim == 3:
        return F.pad(tensor, (2, 2, 2, 2)).unsqueeze(1).expand(-1, 3, -1, -1).contiguous()
    return tensor.permute(0, 3, 1, 2).contiguous()
