"""Refuse ticked groups against which training would do harm, by what the present network makes of their exchange."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

import torch

from looksharp.data.split import Data
from looksharp.data.ticked import TickedRegion, region_marks
from looksharp.interventions.division import PIECES
from looksharp.interventions.intervene import Interventions, intervene
from looksharp.suspects.groups import Region
from looksharp.training.folder import Run

if TYPE_CHECKING:
    from looksharp.suspects.groups import Group

__all__ = ["DECIDED", "ELSEWHERE", "FOLLOWED", "LARGEST", "refusals"]

FOLLOWED = 0.4
"""Smallest share of a group's images that must be answered with the class of the piece that they are given, beyond
those that would be by mistake, as a share of those that are answered right with another piece of their own class.
Measured: at least .45 where pieces are a cue that is read beside the object, at most .35 where they hold the object."""
DECIDED = 0.5
"""Smallest share of images of other classes that pieces of a single class must decide, beyond random pieces."""
LARGEST = 0.25
"""Largest share of the image that a group's regions may cover, in the median; larger ones take objects along."""
ELSEWHERE = 0.25
"""Largest share of the images that may follow a piece of the same shape from elsewhere in the image, as a share of
those that follow the piece itself: where more do, the shortcut is all over the image."""

_MOST = 64  # images of a group that are looked at


def refusals(run: Run, data: Data, groups: Mapping[int, Group]) -> dict[int, str]:
    """Return why groups ticked as a shortcut cannot be used: number -> half a sentence; those that can are missing.

    The pieces of the groups are exchanged across classes, and so are pieces of the same shapes elsewhere in the same
    images. Where a piece carries the shortcut, the network answers with the class of the piece, and does not follow
    pieces from elsewhere. Otherwise the regions are not, or not all, of what is read, and training against them takes
    away what else they cover, such as the object. Groups of a single class have nothing to be exchanged with; what
    `suspects` found when it pasted their pieces onto images of other classes decides.

    Args:
        run: the run to cure.
        data: its images.
        groups: the groups ticked as a shortcut.
    """
    found = {number: _at_sight(group) for number, group in groups.items()}
    refused = {number: reason for number, reason in found.items() if reason}
    tried = {number: _drawn(group.regions) for number, group in groups.items() if number not in refused}
    if _classes(tried) > 1:
        refused |= _not_followed(run, data, tried)
    left = {number: chosen for number, chosen in tried.items() if number not in refused}
    if _classes(left) == 1:
        refused |= {number: reason for number in left if (reason := _of_one_class(groups[number]))}
    return refused


def _classes(tried: Mapping[int, Sequence[Region]]) -> int:
    return len({region.label for chosen in tried.values() for region in chosen})


def _not_followed(run: Run, data: Data, tried: Mapping[int, Sequence[Region]]) -> dict[int, str]:
    """Return which groups cannot be used by what the network answers once their pieces are exchanged."""
    refused = {}
    regions = [region for chosen in tried.values() for region in chosen]
    own, elsewhere = (_exchanged(run, data, each) for each in (regions, _moved(regions)))
    for number, chosen in tried.items():
        follows, within = (_share(own, chosen, measure) for measure in (_FOLLOWS, "exchanged_within"))
        # Wrong answers to pieces of an image's own class are the pictures' fault; of two classes they name the other.
        mistaken = (1 - within) / (len(run.classes) - 1)
        if follows - mistaken < FOLLOWED * within:
            refused[number] = (
                f"given another class's piece, the network answers with that class in {follows:.0%} of its images "
                f"({mistaken:.0%} would by mistake), so that its regions are not what is read, or not all of it"
            )
    left = [region for number, chosen in tried.items() if number not in refused for region in chosen]
    follows, others = (_share(found, left, _FOLLOWS) for found in (own, elsewhere))
    if others > ELSEWHERE * follows:
        reason = (
            f"pieces from elsewhere in the images are followed in {others:.0%}, its own in {follows:.0%}, so that the "
            f"shortcut is all over the image, and its regions take objects along"
        )
        refused |= {number: reason for number in tried if number not in refused}
    return refused


_FOLLOWS = "follows_surroundings"


def _share(found: Interventions, regions: Sequence[Region], measure: str) -> float:
    """Return the mean of a measure over the images of some regions; NaN if none of them was exchanged."""
    rows = torch.isin(found.images, torch.tensor([region.image for region in regions]))
    return float(found.outcomes[measure][rows].mean())


def _exchanged(run: Run, data: Data, regions: Sequence[Region]) -> Interventions:
    numbers = {name: number for number, name in enumerate(data.classes)}
    ticked = [TickedRegion(each.image, numbers[each.label], each.runs) for each in regions]
    split = data.splits["train"]
    split = replace(split, marks=region_marks(split, run.pixels, regions[0].size, ticked))
    return intervene(run.model, split, run.pixels, workers=run.config.training.workers, division=PIECES)


def _moved(regions: Sequence[Region]) -> list[Region]:
    """Return regions moved by about half of the image each way; what leaves it comes in on the other side."""
    generator = torch.Generator().manual_seed(0)
    moved = []
    for each in regions:
        steps = [int(torch.randint(side // 4, side - side // 4, (), generator=generator)) for side in each.size]
        moved.append(Region.of(each.image, each.label, each.mask.roll(steps, (0, 1))))
    return moved


def _at_sight(group: Group) -> str:
    """Return why a group cannot be used, as far as it can be told without the network; "" if it can."""
    if group.verdict == "unclear" and group.tests:
        return f"suspects found no effect of its regions: {group.reason.rstrip('.')}"
    area = median(sum(region.runs[1::2]) / sum(region.runs) for region in group.regions)
    return f"its regions cover {area:.0%} of the image, and so objects too" if area > LARGEST else ""


def _of_one_class(group: Group) -> str:
    """Return why a group cannot be used whose regions have no other class's to be exchanged with; "" if it can."""
    said = "what is ticked is of one class, so that its pieces cannot be exchanged"
    if not {"follows", "follows_random"} <= group.tests.keys():
        return f"{said}, and suspects did not test them"
    follows, others = (group.tests[test].share for test in ("follows", "follows_random"))
    if follows - others >= DECIDED:
        return ""
    return (
        f"{said}; pasted onto images of other classes they decide {follows:.0%} (random pieces: {others:.0%}), so that "
        f"its regions are not what is read, or not all of it"
    )


def _drawn(regions: Sequence[Region]) -> list[Region]:
    order = torch.randperm(len(regions), generator=torch.Generator().manual_seed(0))
    return [regions[place] for place in order[:_MOST].tolist()]
