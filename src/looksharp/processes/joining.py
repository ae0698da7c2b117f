"""Join the processes that a launcher started, and end them together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import distributed
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from looksharp.processes.place import local_rank, processes, rank

__all__ = ["is_lost", "joined", "launched", "speaks"]

_WAIT = timedelta(days=30)  # for the slowest share; a process that ends is noticed at once
_STORE: list[Store] = []  # of the processes that this one joined


def launched() -> bool:
    """Return whether torchrun, or another launcher of its kind, started this process as one of several."""
    return all(os.environ.get(name) for name in ("RANK", "MASTER_ADDR")) and int(os.environ.get("WORLD_SIZE") or 1) > 1


@contextmanager
def joined() -> Iterator[None]:
    """Work together with the other processes that a launcher started, while the `with` lasts.

    Each has its own accelerator, if there are any. Alone, or where `torch.distributed` works already, nothing is done.

    Raises:
        ConnectionError: if another process ends before the work is done.
    """
    if not launched() or distributed.is_initialized():
        yield
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    store, number, count = next(rendezvous("env://", timeout=timedelta(minutes=5)))
    _STORE.append(store)
    try:
        distributed.init_process_group(backend, store=store, rank=number, world_size=count, timeout=_WAIT)
        yield
        distributed.barrier()
    except Exception as error:
        if not is_lost(error):
            raise
        raise ConnectionError(
            f"another of the {count} processes ended, so that this work cannot go on; start all of them again"
        ) from None
    distributed.destroy_process_group()


def is_lost(error: Exception) -> bool:
    """Return whether an error says that another process of several no longer answers."""
    if not distributed.is_available() or not isinstance(error, RuntimeError):
        return False
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def speaks() -> bool:
    """Return whether this process is the first of several to end early, and so the one that says why."""
    if not _STORE:
        return True
    try:
        return _STORE[0].add("looksharp/ended", 1) == 1
    except RuntimeError:  # the first process, which holds the store, is gone
        return rank() == min(1, processes() - 1)
