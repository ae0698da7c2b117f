"""Pieces like the ticked ones in training images where the network's evidence showed none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from looksharp.attention.recording import logits_of
from looksharp.data.split import Data, Pixels, Split
from looksharp.data.ticked import TickedRegion, region_marks
from looksharp.data.transform import seen_box
from looksharp.interventions.surroundings import surroundings_only
from looksharp.propagation.propagate import Propagated, propagate
from looksharp.suspects.groups import Region
from looksharp.training.folder import Run

__all__ = ["LOST", "SIZES", "STEPS", "Reached", "reach"]

STEPS = 200
"""Training steps of the segmenter, each of 16 images; its cross-validation takes as many again."""
SIZES = (0.5, 2.0)
"""Smallest and largest area of a found piece, as a multiple of the ticked regions' median."""
LOST = 0.1
"""Largest share of the right answers in a class without a ticked piece that may be lost once found ones are gone:
where more are, they hold the object."""

_LEARNT = 256  # regions
_BATCH = 64


@dataclass(frozen=True, eq=False)
class Reached:
    """Pieces that a segmenter found.

    Attributes:
        regions: one for each image, by image.
        overlap: mean overlap of ticked regions with what a segmenter found that had not learnt from them.
    """

    regions: tuple[TickedRegion, ...] = field(repr=False)
    overlap: float


def reach(run: Run, data: Data, regions: Sequence[TickedRegion], progress: bool = True) -> Reached:
    """Find pieces like the ticked regions in all other training images.

    A network need not look at a cue in every image that has one: a class may be what it answers where it sees no other
    class's cue. Trained without the cues that it reads, it would read the next. So a small segmenter learns what the
    ticked regions have in common, whatever their colour. A piece counts where the segmenter is sure and its area is
    like theirs (`SIZES`). In classes without a ticked region it must not be what the network needs (`LOST`): there it
    would be the object.

    Args:
        run: the run to cure.
        data: its images.
        regions: the ticked regions.
        progress: show progress bars.

    Raises:
        ValueError: if images are multi-label, or there are fewer than 4 regions; see `propagate`.
    """
    train, seed = data.splits["train"], run.config.training.seed
    drawn = torch.randperm(len(regions), generator=torch.Generator().manual_seed(seed))[:_LEARNT].sort().values
    learnt = region_marks(train, run.pixels, run.pixels.size, [regions[place] for place in drawn.tolist()])
    found = propagate(
        replace(train, marks=learnt),
        run.pixels,
        steps=STEPS,
        mirror="flip" in data.augment,
        any_colour=True,
        seed=seed,
        device=next(run.model.parameters()).device,
        workers=run.config.training.workers,
        progress=progress,
    )
    known = {region.image for region in regions}
    areas = torch.tensor([sum(region.runs[1::2]) / sum(region.runs) for region in regions])
    least, most = (factor * float(areas.median()) for factor in SIZES)
    pieces = {}
    for place in found.places():
        mask = _as_seen(found, place, train, run.pixels)
        if place not in known and least <= float(mask.float().mean()) <= most:
            pieces[place] = mask
    ticked = {region.label for region in regions}
    asked = [place for place in pieces if int(train.targets[place]) not in ticked]
    needed = _needed(run, train, {place: pieces[place] for place in asked})
    kept = [place for place in pieces if int(train.targets[place]) not in needed]
    overlap = float(found.overlaps.mean())
    return Reached(tuple(_region(place, int(train.targets[place]), pieces[place]) for place in kept), overlap)


def _region(place: int, label: int, mask: Tensor) -> TickedRegion:
    return TickedRegion(place, label, Region.of(place, "", mask).runs)


def _as_seen(found: Propagated, place: int, split: Split, pixels: Pixels) -> Tensor:
    """Return a found mask as a mask (H, W) of the network's input, which may be cut from the image."""
    mask = found.mask(place)
    whole = pixels.size if split.in_memory else split.size(place)
    box = (0.0, 0.0, *map(float, whole)) if split.in_memory else seen_box(pixels, whole)
    places = []
    for start, length, cells, image, grid in zip(box[:2], box[2:], pixels.size, whole, mask.shape, strict=True):
        at = (start + (torch.arange(cells) + 0.5) / cells * length) / image * grid
        places.append(at.long().clamp(0, grid - 1))
    return mask[places[0]][:, places[1]]


@torch.no_grad()
def _needed(run: Run, split: Split, pieces: dict[int, Tensor]) -> set[int]:
    """Return the classes in which more than `LOST` of the right answers are lost once the pieces are gone."""
    places = list(pieces)
    batches = [places[start : start + _BATCH] for start in range(0, len(places), _BATCH)]
    device = next(run.model.parameters()).device
    loader = split.loader(batches, run.pixels, device=device, workers=run.config.training.workers)
    right, left = [], []
    for chosen, batch in zip(batches, loader, strict=True):
        masks = torch.stack([pieces[place] for place in chosen]).to(batch.image)
        before, after = (
            logits_of(run.model(images)).argmax(1) == batch.target
            for images in (batch.image, surroundings_only(batch.image, masks))
        )
        right.append(batch.target[before].cpu())
        left.append(batch.target[before & after].cpu())
    if not right:
        return set()
    were, are = (torch.bincount(torch.cat(each), minlength=len(run.classes)) for each in (right, left))
    return set((were - are > LOST * were).nonzero().flatten().tolist())
