"""Tell whether two runs are the same."""

from __future__ import annotations

from collections.abc import Sequence

from looksharp.training.settings import RunConfig

__all__ = ["PLACE", "differing"]

PLACE = ("root", "code", "device", "devices", "num_nodes", "strategy", "workers", "logger", "logged_maps")
"""Settings of where a run is made, not of what it is; another machine may continue it."""


def differing(one: RunConfig, other: RunConfig, besides: Sequence[str] = ()) -> str | None:
    """Name the first setting in which two runs differ, or None where they are the same run.

    Args:
        one: settings of a run.
        other: settings of another.
        besides: settings that may differ too, in addition to `PLACE`.
    """
    first, second = one.flat(), other.flat()
    names = [name for name in {**first, **second} if name not in (*PLACE, *besides)]
    return next((name for name in names if first.get(name) != second.get(name)), None)
