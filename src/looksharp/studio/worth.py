"""The order in which training images are worth marking: pure functions of targets and groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["worth_marking"]


def worth_marking(targets: Tensor, groups: Sequence[Sequence[int]] = (), count: int = 100, seed: int = 0) -> list[int]:
    """Return places of the images to mark, the first ones first.

    Classes take turns and, within a class, the groups of suspects that it is in: what cures is the variety of the
    marked objects, and marking the highest suspects alone was no better than marking at random (docs/results.md,
    "Which images to mark"). Within a group, and for images in none, the seed decides.

    Args:
        targets: (N,) class indices, or (N, classes) multi-hot.
        groups: places of the images of each group, that whose piece decides most first; an image may be in several.
        count: number of images.
        seed: seed of the order.

    Example:
        >>> chosen = worth_marking(torch.tensor([0, 0, 0, 0, 1, 1]), count=4)
        >>> sorted(place >= 4 for place in chosen)
        [False, False, True, True]

    """
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    labels = targets if targets.ndim == 1 else None
    turns = []
    for label in _classes(targets):
        members = (targets[:, label] > 0.5 if labels is None else labels == label).nonzero().flatten()
        known = set(members.tolist()) if groups else set()
        queues = [sorted(known.intersection(group), key=lambda place: int(rank[place])) for group in groups]
        rest = members[rank[members].argsort()].tolist()
        turns.append(_in_turn([*filter(None, queues), rest]))
    chosen: dict[int, None] = {}
    for place in _in_turn(turns):
        if len(chosen) >= count:
            break
        chosen[place] = None
    return list(chosen)


def _classes(targets: Tensor) -> list[int]:
    """Return the classes that images have, in order."""
    if targets.ndim == 1:
        return targets[targets >= 0].unique().tolist()
    return (targets > 0.5).any(0).nonzero().flatten().tolist()


def _in_turn(queues: Sequence[Sequence[int] | Iterator[int]]) -> Iterator[int]:
    """Yield one of each queue in turn, each value of one queue once."""
    waiting = [iter(dict.fromkeys(queue)) if isinstance(queue, list) else iter(queue) for queue in queues]
    seen: set[int] = set()
    while waiting:
        left = []
        for queue in waiting:
            found = next((value for value in queue if value not in seen), None)
            if found is not None:
                seen.add(found)
                left.append(queue)
                yield found
        waiting = left
