"""Place of this process among those that work together."""

from __future__ import annotations

import os

from torch import distributed

__all__ = ["check_shares", "is_first", "local_rank", "own_places", "processes", "rank"]


def processes() -> int:
    """Return how many processes work together; 1 outside `torch.distributed`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Return this process's number among them, from 0."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def is_first() -> bool:
    """Return whether this process is the one that writes files and prints."""
    return rank() == 0


def local_rank() -> int:
    """Return this process's number among those of its machine, as torchrun, Lightning or SLURM gave it; else 0."""
    return int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or 0)


def own_places(count: int) -> range:
    """Return the places that this process works on, of `count`.

    Every place is one process's. Shares differ by one place at most, and the shares of all processes, one after
    the other, are all places in order.

    Example:
        >>> own_places(10)
        range(0, 10)

    """
    return range(count * rank() // processes(), count * (rank() + 1) // processes())


def check_shares(images: int) -> None:
    """Refuse images that leave a process without any.

    Raises:
        ValueError: if there are fewer images than processes.
    """
    if processes() > max(images, 1):
        raise ValueError(f"{processes()} processes cannot share {images} images; start at most {max(images, 1)}")
