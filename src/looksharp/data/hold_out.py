"""Validation and test images held out once, after a data set has been read."""

from __future__ import annotations

from dataclasses import replace

from looksharp.data.dividing import divide
from looksharp.data.split import Data

__all__ = ["UNDIVIDED", "hold_out"]

UNDIVIDED = "all"
"""The one split of a set that has neither training nor test images of its own."""
_SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}


def hold_out(data: Data, share: float = 0.1, seed: int = 0) -> Data:
    """Give a data set, as its reader returns it, the splits "train" and "val" and those after them.

    A set that has a split "val" keeps it. Else a share of the training images is held out by seed, class by class or by
    whole owners (`Split.divided`); with a share of 0, validation reads the first test split. A set whose only split is
    "all" is divided 80 : 10 : 10 into train, val and test.

    Raises:
        ValueError: if there is nothing to validate on, or a class has too few images to be divided.
    """
    splits = dict(data.splits)
    if UNDIVIDED in splits:
        whole = splits.pop(UNDIVIDED)
        parts = divide(whole.targets.tolist(), tuple(_SHARES.values()), seed)
        splits |= {name: whole.taken(part) for name, part in zip(_SHARES, parts, strict=True)}
    elif "val" not in splits:
        tests = [name for name in splits if name != "train"]
        if not share and not tests:
            raise ValueError(f"{data.name} has neither val nor test; val_share must be above 0")
        if share:
            splits["train"], splits["val"] = splits["train"].divided(share, seed)
        else:
            splits["val"] = splits[tests[0]]
    order = ("train", "val", *(name for name in splits if name not in ("train", "val")))
    return replace(data, splits={name: splits[name] for name in order})
