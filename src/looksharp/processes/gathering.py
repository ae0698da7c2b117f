"""Bring together what several processes found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar
from warnings import catch_warnings, filterwarnings

import torch
from torch import Tensor, distributed

from looksharp.processes.place import processes

T = TypeVar("T")

__all__ = ["agreed", "gathered", "pooled", "summed", "without_shares"]


def gathered(values: Tensor) -> Tensor:
    """Join the values of all processes, in the order of their numbers.

    Args:
        values: (N, ...), on the CPU; N may differ from process to process, and be 0.

    Returns:
        (sum of all N, ...), the same in every process.
    """
    if processes() == 1:
        return values
    sizes = [torch.zeros(1, dtype=torch.long) for _ in range(processes())]
    distributed.all_gather(sizes, torch.tensor([len(values)]))
    longest = max(int(size) for size in sizes)
    padded = values.new_zeros(longest, *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])


def pooled(values: list[T]) -> list[T]:
    """Join the lists of all processes, in the order of their numbers; of anything that can be pickled."""
    if processes() == 1:
        return values
    parts: list[list[T]] = [[] for _ in range(processes())]
    distributed.all_gather_object(parts, values)
    return [value for part in parts for value in part]


def summed(values: Tensor) -> Tensor:
    """Add up the values of all processes.

    Args:
        values: of one shape in every process, on the CPU.
    """
    if processes() == 1:
        return values
    total = values.clone()
    distributed.all_reduce(total)
    return total


def agreed(value: T) -> T:
    """Return what the first process has, in every process; anything that can be pickled."""
    if processes() == 1:
        return value
    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


@contextmanager
def without_shares() -> Iterator[None]:
    """Say nothing where a metric of torchmetrics is computed in a process whose share had nothing for it."""
    with catch_warnings():
        filterwarnings("ignore", "The ``compute`` method of metric")
        yield
