"""Shards in WebDataset's form, `wds:PATTERN`: a stream to train on, and images to validate on."""

from __future__ import annotations

import torch

from looksharp.data.registry import data_source
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.splits.shards import class_names, expand, shard_sizes, stored_samples
from looksharp.data.splits.stream import StreamSplit, stored_split

__all__ = ["read_shards"]


@data_source("wds")
def read_shards(source: str, val_shards: str | None = None) -> Data:
    """Read shards, see `looksharp.data.splits.shards`: a stream to train on, and a split to validate on if it is named.

    Args:
        source: a pattern that names the shards.
        val_shards: pattern that names shards to validate on; the last of the others, a share of val_share, if not
            given. Files stay where they are; what a URL holds is kept in memory, encoded.

    Raises:
        ValueError: if a shard is missing or damaged, a sample lacks its image or class, or there is no sample.
    """
    shards = expand(source)
    sizes, names = shard_sizes(shards), class_names(shards)
    labels = [[sample.label for sample in stored_samples(shard)] for shard in shards] if sizes is None else []
    counts = [len(found) for found in labels] if sizes is None else sizes
    if not sum(counts):
        raise ValueError(f"shards {shards[0]} to {shards[-1]} hold no sample")
    known = [label for found in labels for label in found]
    val = None if val_shards is None else stored_split(expand(val_shards))
    last = max([*known, *(val.targets.tolist() if val is not None else [])], default=None)
    if names is None and last is None:
        raise ValueError(f"classes.txt must lie beside {shards[0]}, a name a line; or name val_shards")
    classes = names or tuple(str(label) for label in range((last or 0) + 1))
    empty = sorted(set(range(len(classes))) - set(known)) if known else []
    if empty:
        raise ValueError(f"class {classes[empty[0]]!r} has no image in shards {shards[0]} to {shards[-1]}")
    targets = torch.tensor(known, dtype=torch.long) if sizes is None else torch.tensor(-1).expand(sum(counts))
    splits: dict[str, Split] = {
        "train": StreamSplit(targets=targets, shards=shards, counts=counts, classes=len(classes))
    }
    if val is not None:
        splits["val"] = val.checked(len(classes))
    return Data(f"wds:{source}", classes, splits, Pixels((224, 224)), "resized_crop_flip")
