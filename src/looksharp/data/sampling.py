"""Batches of images in order, or drawn reproducibly from a seed and an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from looksharp.data.split import Split
from looksharp.processes.place import own_places, processes, rank

__all__ = ["Balance", "InOrder", "Shuffled", "strata_of"]

Balance = Literal["none", "class", "group"]
"""The unit that training draws equally often: an image, a class or a group."""


def strata_of(split: Split, balance: Balance) -> Tensor | None:
    """Return the class or group (N,) of each image of a split, for `Shuffled`; None for balance "none".

    Raises:
        ValueError: if images are multi-label, or groups are not known.
    """
    if balance not in get_args(Balance):
        raise ValueError(f"balance must be one of {', '.join(get_args(Balance))}; got {balance!r}")
    if balance == "class" and split.targets.ndim == 2:
        raise ValueError("balance 'class' needs one class for each image, but these may have several; take 'group'")
    if balance == "group" and split.groups is None:
        raise ValueError(
            "balance 'group' needs the images' groups, but they are not known; give the data a groups.csv "
            "(columns path, group), or take balance 'class'"
        )
    return {"none": None, "class": split.targets, "group": split.groups}[balance]


class InOrder:
    """Batches of images in order, for evaluation; the last one may be short.

    Args:
        images: number of images.
        batch_size: images of a batch.
        shared: under `torch.distributed`, yield this process's share alone. Every image is in one process's, and all
            processes have equally many batches, so that they may wait for each other at each. Where there are fewer
            images than processes, each yields all.

    Raises:
        ValueError: if `batch_size` is below 1.
    """

    def __init__(self, images: int, batch_size: int, *, shared: bool = False) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        self.images, self.batch_size, self.shared = images, batch_size, shared

    @property
    def _sharing(self) -> int:
        return processes() if self.shared and self.images >= processes() else 1

    def __len__(self) -> int:
        return math.ceil(math.ceil(self.images / self._sharing) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        if self._sharing == 1:
            for start in range(0, self.images, self.batch_size):
                yield list(range(start, min(start + self.batch_size, self.images)))
            return
        own = own_places(self.images)
        for batch in range(len(self)):
            start, end = (len(own) * edge // len(self) for edge in (batch, batch + 1))
            if start < end:  # a share that is shorter by one may lack one of batches of one image
                yield list(own[start:end])


class Shuffled:
    """Training batches: every image once an epoch in random order, and marked images beside them.

    With `marked_per_batch` the last places of each batch are drawn from the marked images, which take turns:
    GAIN's external stream (Sec. 3.2), so that a few marked images take part in every step. The other places go through
    the whole set. An incomplete last batch is dropped, unless it is the only one. Under
    `torch.distributed` each process takes its share of every epoch's batches; where there are fewer batches than
    processes, images come again.

    With `strata` (each image's class or group) an epoch draws as many images as without, but equally many of
    every class or group: their images take turns, those of small ones several times an epoch, those of large
    ones not in every epoch. A class or group that has no image is left out, so with only one group (a
    cue that never fails, rho 1.0) this is ordinary shuffling.

    Args:
        images: number of images.
        batch_size: places of a batch, marked ones included.
        seed: with the epoch, it determines every batch.
        marked: places of the marked images.
        marked_per_batch: places of a batch for marked images.
        strata: (images,) the classes or groups that are drawn equally often; see `strata_of`.

    Raises:
        ValueError: if `marked_per_batch` leaves no place for others, or there are no marked images for it.
    """

    def __init__(
        self,
        images: int,
        batch_size: int,
        seed: int,
        marked: Sequence[int] = (),
        marked_per_batch: int = 0,
        strata: Tensor | None = None,
    ) -> None:
        if not 0 <= marked_per_batch < batch_size:
            raise ValueError(
                f"marked_per_batch must be 0 to {batch_size - 1}, below batch_size; got {marked_per_batch}"
            )
        if marked_per_batch and not marked:
            raise ValueError(f"marked_per_batch is {marked_per_batch}, but no image is marked; give --marks")
        self.images, self.batch_size, self.seed = images, min(batch_size, images), seed
        self.marked, self.marked_per_batch = list(marked), marked_per_batch
        self.strata = (
            None if strata is None else [(strata == stratum).nonzero().flatten() for stratum in strata.unique()]
        )
        self.epoch = 0

    @property
    def _free(self) -> int:
        return max(self.batch_size - self.marked_per_batch, 1)

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration that of `epoch`."""
        self.epoch = epoch

    def __len__(self) -> int:
        return max(self.images // self._free // processes(), 1)

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = self._order(generator)
        order *= math.ceil(len(self) * processes() * self._free / self.images)  # once, unless processes are many
        turns = self._turns(generator)
        own = rank()
        for batch in range(len(self) * processes()):
            start = batch * self._free
            chosen = order[start : start + self._free] + [next(turns) for _ in range(self.marked_per_batch)]
            if batch % processes() == own:
                yield chosen
        self.epoch += 1

    def _order(self, generator: torch.Generator) -> list[int]:
        if self.strata is None:
            return torch.randperm(self.images, generator=generator).tolist()
        share = math.ceil(self.images / len(self.strata))
        columns = torch.stack([_drawn(places, share, generator) for places in self.strata], 1)  # (share, strata)
        last = torch.randperm(len(self.strata), generator=generator)  # which go short by one
        drawn = columns[:, last].flatten()[: self.images]
        return drawn[torch.randperm(self.images, generator=generator)].tolist()

    def _turns(self, generator: torch.Generator) -> Iterator[int]:
        while True:
            for place in torch.randperm(len(self.marked), generator=generator).tolist():
                yield self.marked[place]


def _drawn(places: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw `count` of the places, each as often as any other, or once more."""
    rounds = [torch.randperm(len(places), generator=generator) for _ in range(math.ceil(count / len(places)))]
    return places[torch.cat(rounds)[:count]]
