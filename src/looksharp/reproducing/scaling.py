"""Scale a recipe down to a share of its epochs and images, for a smoke run."""

from __future__ import annotations

from dataclasses import replace

import torch

from looksharp.data.marked import choose_marked
from looksharp.data.split import Data
from looksharp.training.settings import RunConfig

__all__ = ["check_scale", "scaled_config", "scaled_data"]

_STEPS = 2


def check_scale(scale: float) -> float:
    """Return the scale, checked.

    Raises:
        ValueError: unless it is above 0 and at most 1.
    """
    if not 0 < scale <= 1:
        raise ValueError(f"scale must be above 0 and at most 1; got {scale:g}")
    return scale


def scaled_config(config: RunConfig, scale: float) -> RunConfig:
    """Return the settings with a share of the epochs, at least one; the milestones move along."""
    if check_scale(scale) == 1:
        return config
    every = config.optimization.every
    optimization = replace(
        config.optimization,
        milestones=[max(round(each * scale), 1) for each in config.optimization.milestones],
        every=None if every is None else max(round(every * scale), 1),
    )
    training = replace(config.training, epochs=max(round(config.training.epochs * scale), 1))
    return replace(config, optimization=optimization, training=training)


def scaled_data(data: Data, config: RunConfig, scale: float) -> Data:
    """Draw a share of each split's images by seed: at least two batches, and all marked images in use."""
    if check_scale(scale) == 1:
        return data
    seed, least = config.training.seed, _STEPS * config.training.batch_size
    marked: list[int] = []
    if config.marks.marks is not None:
        marks = choose_marked(data, config.marks, seed).splits["train"].marks
        marked = marks.images if marks is not None else []
    splits = {}
    for name, split in data.splits.items():
        count = min(max(round(len(split) * scale), least), len(split))
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(seed)).tolist()
        first = marked if name == "train" else []
        splits[name] = split.taken(sorted(list(dict.fromkeys([*first, *order]))[: max(count, len(first))]))
    return replace(data, splits=splits)
