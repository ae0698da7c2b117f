"""Divide images class by class, or keep those of one person or one photograph together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Lt

__all__ = ["FOLDS", "Fold", "check_fold", "divide", "fold_of", "held_out"]

FOLDS = 5

Fold = Annotated[int, Ge(0), Lt(FOLDS)]
"""One of five folds, 0 to 4."""


def divide(labels: Sequence[int], shares: tuple[float, ...], seed: int) -> list[list[int]]:
    """Return the places of images divided at random in the given shares, class by class: each part has all classes.

    Raises:
        ValueError: if a class has fewer images than there are parts.
    """
    generator = torch.Generator().manual_seed(seed)
    places: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        places.setdefault(label, []).append(place)
    parts: list[list[int]] = [[] for _ in shares]
    for label, owned in places.items():
        if len(owned) < len(shares):
            raise ValueError(
                f"class {label} has {len(owned)} images, too few to divide into {len(shares)} splits; "
                f"lay the splits out as folders train, val and test"
            )
        order = [owned[i] for i in torch.randperm(len(owned), generator=generator).tolist()]
        start = 0
        for number, share in enumerate(shares):
            rest = len(shares) - number - 1
            wanted = max(round(share * len(owned)), 1) if rest else len(order) - start
            stop = min(start + wanted, len(order) - rest)
            parts[number] += order[start:stop]
            start = stop
    return [sorted(part) for part in parts]


def check_fold(fold: int) -> None:
    """Raise ValueError unless `fold` is one of five."""
    if not 0 <= fold < FOLDS:
        raise ValueError(f"fold must be 0 to {FOLDS - 1}, the one that is tested on; got {fold}")


def fold_of(owners: Sequence[Hashable], labels: Sequence[int]) -> list[int]:
    """Return the fold, 0 to 4, of each image: a fixed division, class by class.

    Owners are dealt in turn within the class of their first image, so that each fold has its share of every class.
    """
    first = dict(zip(reversed(owners), reversed(labels), strict=True))
    order = torch.randperm(len(first), generator=torch.Generator().manual_seed(0)).tolist()
    found, dealt = list(dict.fromkeys(owners)), Counter[int]()
    folds: dict[Hashable, int] = {}
    for owner in (found[place] for place in order):
        folds[owner] = dealt[first[owner]] % FOLDS
        dealt[first[owner]] += 1
    return [folds[owner] for owner in owners]


def held_out(owners: Sequence[Hashable], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Return places that stay, and places held out: whole owners, drawn by seed, until a share of images is reached.

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
