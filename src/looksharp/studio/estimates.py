"""Estimate how long a training will take: first from the run's epochs, then from the training's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

__all__ = ["estimated", "remaining"]

_SHARE_FORWARD = 1 / 3
"""A training step takes about three forwards: one, and twice as much to go back."""
_MEASURED = 2 * 8
"""Forwards for each image that is measured: evaluation and interventions, before and after."""
_START = 20.0  # seconds until the first step


def estimated(
    history: Sequence[Mapping[str, float]], images: Mapping[str, int], epochs: int, cost: float, trainings: int = 1
) -> float | None:
    """Estimate the seconds of a cure; None if the run has no epoch to go by.

    Args:
        history: the run's metrics.csv, whose epochs were plain.
        images: split -> number of images.
        epochs: epochs of the cure.
        cost: what a step takes, as a multiple of a plain one.
        trainings: number of trainings.

    Example:
        >>> estimated([{"seconds": 12.0}, {"seconds": 10.0}], {"train": 900, "val": 100, "test": 0}, 5, 1.5)
        102.0

    """
    seconds = [row["seconds"] for row in history if row.get("seconds", 0) > 0]
    if not seconds:
        return None
    epoch = median(seconds)
    seen = max(images.get("train", 0) + _SHARE_FORWARD * images.get("val", 0), 1)
    others = sum(count for name, count in images.items() if name not in ("train", "val"))
    measuring = epoch / seen * others * _SHARE_FORWARD * _MEASURED
    return round(_START + trainings * epochs * cost * epoch + measuring, 0)


def remaining(history: Sequence[Mapping[str, float]], epochs: int) -> float | None:
    """Estimate the seconds that a training still takes from its epochs so far; None before the first.

    Example:
        >>> remaining([{"seconds": 9.0}, {"seconds": 5.0}, {"seconds": 5.0}], 10)
        35.0

    """
    seconds = [row["seconds"] for row in history if row.get("seconds", 0) > 0]
    return median(seconds) * max(epochs - len(history), 0) if seconds else None
