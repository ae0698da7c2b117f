"""Find the region of every image of a group, and test the groups by intervention."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from looksharp.data.split import Data, Pixels, Split
from looksharp.evaluation.fingerprint import model_fingerprint
from looksharp.processes.gathering import pooled
from looksharp.processes.place import is_first, own_places, processes
from looksharp.suspects.choosing import Suspects, reader_of
from looksharp.suspects.groups import Group, Groups, Region, images_fingerprint
from looksharp.suspects.regions import find_regions
from looksharp.suspects.trials import Example, effect, try_group
from looksharp.training.folder import Run

__all__ = ["Found", "find_groups"]


@dataclass(frozen=True, eq=False)
class Found:
    """Groups that were tested, and examples of the tests.

    Attributes:
        groups: the groups, the one whose piece decides most first.
        examples: number of a group -> some of its images under the interventions.
    """

    groups: Groups
    examples: dict[int, list[Example]] = field(repr=False)


def find_groups(
    model: nn.Module | Run | str | Path,
    data: Data,
    found: Suspects,
    *,
    tested: int = 32,
    batch_size: int = 64,
    workers: int = 0,
    seed: int = 0,
    progress: bool = True,
) -> Found:
    """Find regions in all images of the clusters of `suspects`, and test each cluster as a group.

    Images go through one batch at a time, and only packed regions are kept. Of several processes (`torch.distributed`)
    each finds the regions of its share of the images, and all return the same. Costs about 12 forwards an image (see
    `find_regions`) and 7 for each image tested (see `try_group`).

    Args:
        model: the classifier that `suspects` read.
        data: its training split is read.
        found: the result of `suspects`.
        tested: images of each group to test.
        batch_size: images of one forward; changes nothing but speed and memory.
        workers: processes that read image files.
        seed: seed of the tests' draws.
        progress: show progress bars.

    Raises:
        ValueError: if `tested` is below 1.

    Example:
        >>> from looksharp.data.sets.synthetic import biased_digits
        >>> from looksharp.networks import SmallNet
        >>> from looksharp.suspects import suspects
        >>> data, model = biased_digits(train=20, val=1, test=1), SmallNet(10, width=8).eval()
        >>> found = find_groups(model, data, suspects(model, data, n=4, progress=False), tested=4, progress=False)
        >>> sorted(group.number for group in found.groups)
        [1, 2, 3, 4]

    """
    if tested < 1:
        raise ValueError(f"tested must be at least 1 image of each group; got {tested}")
    network, pixels = reader_of(model, data)
    split = data.splits["train"]
    own: list[tuple[int, Region]] = []
    bar = tqdm(total=len(found.index), desc="finding regions", disable=not progress or not is_first(), leave=False)
    with bar:
        for rows, masks in _masks(network, split, pixels, found, batch_size, workers):
            for row, mask in zip(rows, masks, strict=True):
                if mask.any():
                    image, label, number = (int(each[row]) for each in (found.index, found.label, found.cluster))
                    own.append((number, Region.of(image, data.classes[label], mask)))
            bar.update(processes() * len(rows))
    regions: dict[int, list[Region]] = defaultdict(list)
    for number, region in pooled(own):
        regions[number].append(region)
    groups, examples = [], {}
    for number in tqdm(found.sizes, "testing groups", disable=not progress or not is_first(), leave=False):
        options = {"images": tested, "batch_size": batch_size, "workers": workers, "seed": seed}
        group, examples[number] = try_group(
            network, split, pixels, data.classes, Group(number, tuple(regions[number])), **options
        )
        groups.append(group)
    groups.sort(key=lambda group: effect(group.tests), reverse=True)
    facts = (model_fingerprint(network), images_fingerprint(split, pixels), "train", pixels.size, data.classes)
    return Found(Groups(None, *facts, tuple(groups)), examples)


def _masks(
    network: nn.Module, split: Split, pixels: Pixels, found: Suspects, batch_size: int, workers: int
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield rows of `found`, and the region (H, W) of each, for batch after batch of its images."""
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    images = found.index.unique()
    shared = own_places(len(images))
    batches = [part.tolist() for part in images[shared.start : shared.stop].split(batch_size) if len(part)]
    for places, batch in zip(batches, split.loader(batches, pixels, device=device, workers=workers), strict=True):
        rows = torch.isin(found.index, torch.tensor(places)).nonzero().flatten()
        sample = torch.searchsorted(torch.tensor(places), found.index[rows]).to(device)
        masks = find_regions(network, batch.image[sample], found.label[rows].to(device))
        yield rows.tolist(), masks.cpu()
