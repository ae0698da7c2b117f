"""Pieces of held-out images, found as the suspects were by the network before its cure, for a proof without marks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.curing.marks import other_splits, provable
from looksharp.curing.ticks import Ticks
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.ticked import TickedRegion, region_marks
from looksharp.suspects.groups import Group, Region
from looksharp.suspects.patches import attended_patches
from looksharp.suspects.regions import find_regions
from looksharp.training.folder import Run

__all__ = ["MOST", "piece_splits"]

MOST = 1000
"""Images of a split in which pieces are looked for; of more, so many are drawn."""

_BATCH = 64
_KNOWN = 64  # images of a group that tell what it looks like


def piece_splits(run: Run, data: Data, ticks: Ticks, progress: bool = True) -> dict[str, Split]:
    """Return held-out images with pieces as their marks, of the test splits and the validation split.

    A piece is the region that the run finds in an image for a class of its; it counts where what the run sees there is
    most like a group ticked as a shortcut. Splits without two classes with two pieces each are left out.

    Args:
        run: the run before its cure.
        data: its images.
        ticks: the ticked groups.
        progress: show progress bars.
    """
    centres = None
    groups = {group.number: group for group in ticks.groups if group.regions}
    of_classes = {name for number in ticks.shortcut for name in groups[number].classes}
    if set(ticks.shortcut) != set(groups) and len(of_classes) > 1:
        centres = _centres(run, data.splits["train"], groups, progress)
    found = {name: _with_pieces(run, split, centres, ticks, progress) for name, split in other_splits(data).items()}
    return {name: split for name, split in found.items() if provable(split)}


def _with_pieces(run: Run, split: Split, centres: Mapping[int, Tensor] | None, ticks: Ticks, progress: bool) -> Split:
    """Return a split whose marks are the pieces of some of its images."""
    places = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:MOST].sort().values.tolist()
    wanted = None
    if centres is not None:
        patches = attended_patches(run.model, split, run.pixels, places, workers=_workers(run), progress=progress)
        names, likeness = list(centres), patches.feature @ torch.stack(list(centres.values())).T
        of = torch.tensor(names)[likeness.argmax(1)]
        rows = zip(patches.image.tolist(), patches.label.tolist(), of.tolist(), strict=True)
        wanted = {(image, label) for image, label, number in rows if number in ticks.shortcut}
        places = sorted({image for image, _ in wanted})
    regions = [
        region
        for region in _regions(run.model, split, run.pixels, places, _workers(run))
        if wanted is None or (region.image, region.label) in wanted
    ]
    return replace(split, marks=region_marks(split, run.pixels, run.pixels.size, regions))


def _regions(model: nn.Module, split: Split, pixels: Pixels, places: list[int], workers: int) -> list[TickedRegion]:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches = [places[start : start + _BATCH] for start in range(0, len(places), _BATCH)]
    found = []
    for chosen, batch in zip(batches, split.loader(batches, pixels, device=device, workers=workers), strict=True):
        classes = int(batch.target.shape[1]) if batch.multilabel else int(batch.target.max()) + 1
        sample, label = batch.multi_hot(classes).nonzero(as_tuple=True)
        masks = find_regions(model, batch.image[sample], label)
        for row, mask in enumerate(masks.cpu()):
            if mask.any():
                region = Region.of(chosen[int(sample[row])], "", mask)
                found.append(TickedRegion(region.image, int(label[row]), region.runs))
    return found


def _centres(run: Run, train: Split, groups: Mapping[int, Group], progress: bool) -> dict[int, Tensor]:
    """Return what the network sees where it looks in each group, the mean of some of its images, of length 1."""
    drawn = {
        number: [
            group.images[place]
            for place in torch.randperm(len(group.images), generator=torch.Generator().manual_seed(0))[:_KNOWN].tolist()
        ]
        for number, group in groups.items()
    }
    places = sorted({place for chosen in drawn.values() for place in chosen})
    patches = attended_patches(run.model, train, run.pixels, places, workers=_workers(run), progress=progress)
    centres = {}
    for number, chosen in drawn.items():
        seen = patches.feature[torch.isin(patches.image, torch.tensor(chosen))]
        if len(seen):
            centres[number] = F.normalize(seen.mean(0), dim=0)
    return centres


def _workers(run: Run) -> int:
    return run.config.training.workers
