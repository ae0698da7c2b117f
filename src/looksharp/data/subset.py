"""Some of a split's images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from looksharp.data.files import FileSplit
from looksharp.data.split import Pairs, Split
from looksharp.data.tensors import TensorSplit

__all__ = ["subset"]


def subset(split: Split, places: Sequence[int]) -> Split:
    """The split of these images alone, in this order, with their masks and groups.

    Args:
        split: images in memory or in files.
        places: of the images, each at most once.

    Raises:
        TypeError: if the split is of another kind.
    """
    if not isinstance(split, TensorSplit | FileSplit):
        raise TypeError(f"split must be a TensorSplit or a FileSplit; got {type(split).__name__}")
    chosen = list(places)
    pairs = split.pairs
    if pairs is not None:
        kept = pairs.restricted(chosen)
        now = {place: number for number, place in enumerate(chosen)}
        pairs = Pairs([now[sample] for sample in kept.samples], kept.labels, kept.masks)
    groups = None if split.groups is None else split.groups[chosen]
    if isinstance(split, TensorSplit):
        return replace(split, targets=split.targets[chosen], pairs=pairs, groups=groups, images=split.images[chosen])
    paths = [split.paths[place] for place in chosen]
    return replace(split, targets=split.targets[chosen], pairs=pairs, groups=groups, paths=paths)
