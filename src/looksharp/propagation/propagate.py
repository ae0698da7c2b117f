"""Find the object in every training image from a few marked ones, and say how well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from looksharp.data.sampling import InOrder
from looksharp.data.split import Pixels, Split
from looksharp.marks.marks import Marks
from looksharp.marks.regions import MadeMasks, Region
from looksharp.propagation.found import DrawnMask, FoundMask, packed, unpacked
from looksharp.propagation.segmenter import fit_segmenter, predict
from looksharp.propagation.working import marked_images, working_batches

__all__ = ["FEWEST", "STEPS", "SURE", "Propagated", "expected_overlap", "overlap", "propagate", "worth_propagating"]

STEPS = 400
"""Training steps of the segmenter, each of 16 images; its cross-validation takes as many again."""
SURE = 0.5
"""Smallest expected overlap of a found mask that guides."""
FEWEST = 4
"""Fewest marked images: two to learn from and two to be judged by, in turns."""


@dataclass(frozen=True, eq=False)
class Propagated:
    """Masks that a segmenter found in the images of a split.

    Attributes:
        bits: (N, bytes) the mask of every image, packed by `found.packed`.
        grid: (height, width) of the masks.
        sure: (N,) expected overlap of each mask with the object, in [0, 1]; 0 where nothing was found.
        own: places of the marked images.
        overlaps: (M,) overlap of each mark of theirs with what a segmenter found that had not learnt from it.
    """

    bits: npt.NDArray[np.uint8] = field(repr=False)
    grid: tuple[int, int]
    sure: Tensor = field(repr=False)
    own: tuple[int, ...] = field(repr=False)
    overlaps: Tensor = field(repr=False)

    def places(self, without: Sequence[int] = ()) -> list[int]:
        """Return places of the images whose found mask guides: it is sure, not refused, and there is no mark.

        Args:
            without: places of images whose mask somebody refused.
        """
        left_out = {*self.own, *without}
        return [place for place in (self.sure >= SURE).nonzero().flatten().tolist() if place not in left_out]

    def mask(self, place: int) -> Tensor:
        """Return the mask (h, w) found in an image, of `grid`."""
        return torch.from_numpy(unpacked(self.bits[place], self.grid))

    def marks(self, split: Split, without: Sequence[int] = ()) -> Marks:
        """Return the marks of the split, and the found masks that guide, each for its image's class.

        Args:
            split: the split that was propagated through.
            without: places of images whose mask somebody refused.
        """
        assert split.marks is not None
        places = self.places(without)
        drawn = [(image, label, mask) for image in self.own for label, mask in split.marks.of(image)]
        samples = [image for image, _, _ in drawn] + places
        labels = [label for _, label, _ in drawn] + split.targets[places].tolist()
        regions: list[Region] = [DrawnMask(mask) for _, _, mask in drawn]
        regions += [FoundMask(self.bits[place], self.grid, split.size(place)) for place in places]
        masks = MadeMasks(regions)
        return Marks(samples, labels, [mask.bool() for mask in masks] if split.in_memory else masks)


def propagate(
    split: Split,
    pixels: Pixels,
    *,
    steps: int = STEPS,
    mirror: bool = False,
    any_colour: bool = False,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: bool = True,
) -> Propagated:
    """Train a small segmenter on the marked images of a split, and mark the object in all of its images.

    The segmenter learns from marks alone and knows no class. It is judged by the marked images themselves: of two
    halves, each is marked by a segmenter that learnt from the other for half as many steps.

    Args:
        split: images of one class each, some of them with marks.
        pixels: the way from their pixels to the network's input.
        steps: training steps, each of 16 images.
        mirror: mirror half of the images in training.
        any_colour: exchange the colour channels at random in training, so that a thing is found in colours that are
            not marked.
        seed: seed of the segmenter, and of the halves.
        batch_size: images of one forward.
        device: device of the segmenter.
        workers: processes that read image files.
        progress: show a progress bar.

    Raises:
        ValueError: if images are multi-label, fewer than 4 are marked, or `steps` is below 2.
    """
    own = tuple(split.marks.images) if split.marks is not None else ()
    if split.targets.ndim != 1:
        raise ValueError("propagate needs images of one class each; the masks of a multi-label image have several")
    if len(own) < FEWEST:
        raise ValueError(f"propagate needs at least {FEWEST} marked training images; got {len(own)}: mark more")
    if steps < 2:
        raise ValueError(f"steps must be at least 2; got {steps}")
    images, masks = marked_images(split, pixels, own, device, workers)
    learn = partial(fit_segmenter, mirror=mirror, any_colour=any_colour, seed=seed)
    with tqdm(total=2 * (steps // 2) + steps, desc="learning the marks", disable=not progress, leave=False) as bar:
        halves = torch.randperm(len(own), generator=torch.Generator().manual_seed(seed)).chunk(2)
        overlaps = torch.zeros(len(own))
        for learnt, judged in (halves, halves[::-1]):
            network = learn(images[learnt], masks[learnt], steps=steps // 2, advance=bar.update)
            found = torch.cat([predict(network, part) for part in images[judged].split(batch_size)]) > 0.5
            overlaps[judged] = overlap(found, masks[judged] > 0.5).cpu()
        network = learn(images, masks, steps=steps, advance=bar.update)
    bits, sure = [], []
    batches = list(InOrder(len(split), batch_size))
    with tqdm(total=len(split), desc="marking", unit=" images", disable=not progress, leave=False) as bar:
        for batch, _ in working_batches(split, pixels, batches, device, workers):
            odds = predict(network, batch)
            bits.append(packed(odds > 0.5))
            sure.append(expected_overlap(odds).cpu())
            bar.update(len(batch))
    grid = (images.shape[-2], images.shape[-1])
    return Propagated(np.concatenate(bits), grid, torch.cat(sure), own, overlaps)


def worth_propagating(split: Split) -> bool:
    """Return whether marks may be propagated (see `propagate`), and most images of the split have none."""
    marked = len(split.marks.images) if split.marks is not None else 0
    return split.targets.ndim == 1 and FEWEST <= marked < len(split) / 2


def overlap(found: Tensor, marked: Tensor) -> Tensor:
    """Compute intersection over union (N,) of masks (N, h, w) of booleans; 0 where both are empty."""
    both, either = ((found & marked).flatten(1).sum(1), (found | marked).flatten(1).sum(1))
    return both / either.clamp(min=1)


def expected_overlap(odds: Tensor) -> Tensor:
    """Estimate the intersection over union of masks, cut at one half, with the object that probabilities describe.

    With independent pixels of probability p and the mask M = p > 1/2, the expected intersection is the sum of p over M,
    the expected union the size of M plus the sum of p outside; their quotient is returned, 0 for an empty mask.

    Args:
        odds: (N, h, w) in [0, 1].

    Example:
        >>> expected_overlap(torch.tensor([[[0.9, 0.9, 0.2, 0.0]], [[0.1, 0.1, 0.2, 0.3]]]))
        tensor([0.8182, 0.0000])

    """
    mask = odds > 0.5
    inside = (odds * mask).flatten(1).sum(1)
    union = mask.flatten(1).sum(1) + (odds * ~mask).flatten(1).sum(1)
    return inside / union.clamp(min=1e-9)
