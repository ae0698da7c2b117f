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
from looksharp.interventions.intervene import intervene
from looksharp.training.folder import Run

if TYPE_CHECKING:
    from looksharp.suspects.groups import Group, Region

__all__ = ["FOLLOWED", "LARGEST", "refusals"]

FOLLOWED = 0.5
"""Smallest share of a group's images that must be answered with the class of the piece that they are given."""

LARGEST = 0.25
"""Largest share of the image that a group's regions may cover, in the median; larger ones take objects along."""

_MOST = 64  # images of a group that are looked at


def refusals(run: Run, data: Data, groups: Mapping[int, Group]) -> dict[int, str]:
    """Return why groups ticked as a shortcut cannot be used: number -> half a sentence; those that can are missing.

    The pieces of the groups are exchanged across classes. Where a piece carries the shortcut, the network answers with
    the class of the piece. Where it does not, the regions are not, or not all, of what is read, and training against
    them takes away what else they cover, such as the object.

    Args:
        run: the run to cure.
        data: its images.
        groups: the groups ticked as a shortcut.
    """
    train = data.splits["train"]
    numbers = {name: number for number, name in enumerate(data.classes)}
    found = {number: _at_sight(group) for number, group in groups.items()}
    refused = {number: reason for number, reason in found.items() if reason}
    tried = {number: _drawn(group.regions) for number, group in groups.items() if number not in refused}
    regions = [TickedRegion(r.image, numbers[r.label], r.runs) for chosen in tried.values() for r in chosen]
    if len({region.label for region in regions}) < 2:
        return refused  # nothing to exchange them with
    size = next(iter(groups.values())).regions[0].size
    split = replace(train, marks=region_marks(train, run.pixels, size, regions))
    answers = intervene(run.model, split, run.pixels, workers=run.config.training.workers, division=PIECES)
    follows = answers.outcomes["follows_surroundings"]
    for number, chosen in tried.items():
        own = torch.isin(answers.images, torch.tensor([region.image for region in chosen]))
        if own.any() and float(follows[own].mean()) < FOLLOWED:
            refused[number] = (
                f"given another class's piece, the network answers with that class in {float(follows[own].mean()):.0%} "
                f"of its images, so that its regions are not what is read, or not all of it"
            )
    return refused


def _at_sight(group: Group) -> str:
    """Return why a group cannot be used, as far as it can be told without the network; "" if it can."""
    if group.verdict == "object":
        return f"its regions are of the object: {group.reason}"
    area = median(sum(region.runs[1::2]) / sum(region.runs) for region in group.regions)
    return f"its regions cover {area:.0%} of the image, and so objects too" if area > LARGEST else ""


def _drawn(regions: Sequence[Region]) -> list[Region]:
    order = torch.randperm(len(regions), generator=torch.Generator().manual_seed(0))
    return [regions[place] for place in order[:_MOST].tolist()]
