"""Some of a split's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from looksharp.data.split import Split
from looksharp.marks.marks import Marks

__all__ = ["subset"]

_NOT_BY_IMAGE = ("marks", "root")


def subset(split: Split, places: Sequence[int]) -> Split:
    """The split of these images alone, in this order, with their masks and groups.

    Every field of the split that holds a value for each image (a tensor, list or tuple) is taken apart.

    Args:
        split: images in memory or in files; not a stream.
        places: of the images, each at most once.

    Raises:
        ValueError: if the split is of a kind whose images cannot be picked.

    Example:
        >>> from looksharp.data.sets.synthetic import digits
        >>> subset(digits(train=8, val=1, test=1).splits["train"], [5, 2]).targets.shape
        torch.Size([2])

    """
    chosen = list(places)
    changed: dict[str, Any] = {}
    for each in fields(split):
        value = getattr(split, each.name)
        if each.name in _NOT_BY_IMAGE or value is None or not isinstance(value, Tensor | list | tuple):
            continue
        if len(value) == len(split):
            changed[each.name] = value[chosen] if isinstance(value, Tensor) else [value[place] for place in chosen]
    if changed.keys() <= {"targets", "groups"}:
        raise ValueError(f"images of a {type(split).__name__} cannot be picked; give images in memory or in files")
    if split.marks is not None:
        kept = split.marks.restricted(chosen)
        now = {place: number for number, place in enumerate(chosen)}
        changed["marks"] = Marks([now[sample] for sample in kept.samples], kept.labels, kept.masks)
    return replace(split, **changed)
