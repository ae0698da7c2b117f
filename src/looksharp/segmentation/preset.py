"""SEC's own settings of a segmentation run."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from looksharp.data.seed_folder import read_seed_folder

__all__ = ["STEPS", "sec_settings"]

STEPS = 8000
"""Training steps of SEC."""
_BATCH = 15
_SIDE = 321


def sec_settings(
    seeds: Path | str, given: Mapping[str, Any], *, steps: int = STEPS, root: Path | None = None
) -> dict[str, Any]:
    """Return the settings of a segmentation run, in flat form.

    GAIN Sec. 4.1; Kolesnikov and Lampert 2016, Sec. 4.1: DeepLab-CRF-LargeFOV from ImageNet's weights (torchvision's
    VGG-16, if its cache holds them), images of 321 px, 8,000 steps of 15 images by stochastic gradient descent, at a
    learning rate of 1e-3, ten times that for the last layer, divided by 10 every 2,000 steps; momentum 0.9, weight
    decay 5e-4, dropout 0.5; images are mirrored. Training ends with the epoch that holds the last of these steps.
    Images in memory keep their own size.

    Args:
        seeds: folder that `looksharp seeds` wrote.
        given: settings, in flat form, that differ.
        steps: training steps; the learning rate is divided after each quarter of them.
        root: folder of the data set's files, if it was moved.

    Raises:
        ValueError: if the folder holds no seeds.
    """
    folder = read_seed_folder(seeds)
    source: dict[str, Any] = {"data": f"seeds:{Path(seeds)}"}
    if root is not None:
        source["root"] = str(root)
    epoch = max(folder.images // int(given.get("batch_size", _BATCH)), 1)
    values: dict[str, Any] = source | {
        "objective": "sec",
        "marks": "data",
        "marked_per_batch": 0,
        "architecture": "large_fov",
        "large_fov": {"dropout": 0.5},
        "backbone": "torchvision/vgg16",
        "batch_size": _BATCH,
        "epochs": -(-steps // epoch),
        "lr": 1e-3,
        "head_lr_factor": 10.0,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "step",
        "every": max(steps // 4, 1),
        "gamma": 0.1,
        "augment": "flip",
    }
    if not folder.in_memory:
        values |= {"image_size": _SIDE, "fit": "resize"}
    if "backbone" not in given and "pretrained" not in given and "weights" not in given:
        values["pretrained"] = _has_weights()
        if not values["pretrained"]:
            print("note: torchvision's cache holds no weights of VGG-16; training starts from scratch", file=sys.stderr)
    for name, value in given.items():
        known = values.get(name)
        values[name] = {**known, **value} if isinstance(known, dict) and isinstance(value, Mapping) else value
    return values


def _has_weights() -> bool:
    """Return True if torchvision's weights of VGG-16 are in its cache."""
    return any((Path(torch.hub.get_dir()) / "checkpoints").glob("vgg16-*.pth"))
