"""Divisions that keep together what belongs together: the images of one person or of one photograph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import torch

__all__ = ["check_fold", "fold_of", "held_out"]

_FOLDS = 5


def check_fold(fold: int) -> None:
    """Raise ValueError unless `fold` is one of five."""
    if not 0 <= fold < _FOLDS:
        raise ValueError(f"fold must be 0 to {_FOLDS - 1}, the one that is tested on; got {fold}")


def fold_of(owners: Sequence[Hashable], labels: Sequence[int]) -> list[int]:
    """The fold, 0 to 4, of each image: a division once and for all, class by class.

    Owners are dealt in turn within the class of their first image, so that each fold has its share of every class.
    """
    first = dict(zip(reversed(owners), reversed(labels), strict=True))
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(0)).tolist()
    found, dealt = list(dict.fromkeys(owners)), Counter[int]()
    folds: dict[Hashable, int] = {}
    for owner in (found[place] for place in order):
        folds[owner] = dealt[first[owner]] % _FOLDS
        dealt[first[owner]] += 1
    return [folds[owner] for owner in owners]


def held_out(owners: Sequence[Hashable], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Places that stay, and places held out: whole owners, drawn by seed, until a share of all images is reached.

    Raises:
        ValueError: if that would leave nothing on one side.
    """
    images = Counter(owners)
    found = list(images)
    chosen: set[Hashable] = set()
    taken = 0
    for place in torch.randperm(len(found), generator=torch.Generator().manual_seed(seed)).tolist():
        if taken >= share * len(owners):
            break
        chosen.add(found[place])
        taken += images[found[place]]
    if not 0 < taken < len(owners):
        raise ValueError(f"val_share is {share:g}, which holds out {taken} of {len(owners)} images")
    stay = [place for place, owner in enumerate(owners) if owner not in chosen]
    return stay, [place for place, owner in enumerate(owners) if owner in chosen]
