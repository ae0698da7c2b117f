"""Estimate how long a training will take: first from the run's epochs, then from the training's own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.training.folder import Run

__all__ = ["epoch_seconds", "estimated", "remaining", "timed_epoch"]

_SHARE_FORWARD = 1 / 3
"""A training step takes about three forwards: one, and twice as much to go back."""
_MEASURED = 2 * 8
"""Forwards for each image that is measured: evaluation and interventions, before and after."""
_START = 20.0  # seconds until the first step
_TIMED = 16  # images of the step that is timed


def epoch_seconds(history: Sequence[Mapping[str, float]]) -> float | None:
    """Return what an epoch of a run took, the median of its metrics.csv; None if it has none.

    Example:
        >>> epoch_seconds([{"seconds": 12.0}, {"seconds": 10.0}]), epoch_seconds([])
        (11.0, None)

    """
    seconds = [row["seconds"] for row in history if row.get("seconds", 0) > 0]
    return median(seconds) if seconds else None


def timed_epoch(run: Run, data: Data) -> float:
    """Time a step of plain training on a few images, and return what an epoch would take by it, in seconds.

    For a run that has no epochs of its own, such as an adopted one. Its weights, gradients and statistics stay as they
    are.
    """
    import torch

    from looksharp.attention.recording import logits_of
    from looksharp.objectives.classification import classification_loss

    train, weights = data.splits["train"], [each for each in run.model.parameters() if each.requires_grad]
    device, chosen = next(run.model.parameters()).device, list(range(min(_TIMED, len(train))))
    seconds = 0.0
    for _ in range(2):  # the second time nothing is set up any more
        started = time.perf_counter()
        (batch,) = train.loader([chosen], run.pixels, device=device)
        with torch.enable_grad():
            loss = classification_loss(logits_of(run.model(batch.image)), batch)
            if weights:
                torch.autograd.grad(loss, weights, allow_unused=True)
        loss.item()  # waits for a GPU
        seconds = time.perf_counter() - started
    return seconds / len(chosen) * _seen({name: len(split) for name, split in data.splits.items()})


def estimated(
    epoch: float, images: Mapping[str, int], epochs: int, cost: float, trainings: int = 1, before: float = 0.0
) -> float:
    """Estimate the seconds of a cure.

    Args:
        epoch: seconds of a plain epoch.
        images: split -> number of images.
        epochs: epochs of the cure.
        cost: what an epoch takes, as a multiple of a plain one.
        trainings: number of trainings.
        before: seconds until the first one can begin.

    Example:
        >>> estimated(11.0, {"train": 900, "val": 100, "test": 0}, 5, 1.5)
        102.0

    """
    others = sum(count for name, count in images.items() if name not in ("train", "val"))
    measuring = epoch / _seen(images) * others * _SHARE_FORWARD * _MEASURED
    return round(_START + before + trainings * epochs * cost * epoch + measuring, 0)


def remaining(history: Sequence[Mapping[str, float]], epochs: int) -> float:
    """Estimate the seconds that are left of a number of epochs from those so far; 0 before the first.

    Example:
        >>> remaining([{"seconds": 9.0}, {"seconds": 5.0}, {"seconds": 5.0}], 10)
        35.0

    """
    return (epoch_seconds(history) or 0.0) * max(epochs - len(history), 0)


def _seen(images: Mapping[str, int]) -> float:
    """Return how many images' steps an epoch takes: those of training, and forwards of validation."""
    return max(images.get("train", 0) + _SHARE_FORWARD * images.get("val", 0), 1)
