"""Compute a comparison's details: KS charts over seeds, and the split to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from looksharp.experiments.differences import Entry
from looksharp.metrics.catalogue import on_topic

if TYPE_CHECKING:
    from looksharp.evaluation import Evaluation

__all__ = ["hardest_split", "mean_separation"]


def hardest_split(entries: Sequence[Entry], method: str) -> str | None:
    """Return the test split on which a method classifies worst at its last epoch; None if unknown."""
    for metric in on_topic("main"):
        found = {
            entry.split: entry.mean
            for entry in entries
            if (entry.checkpoint, entry.metric, entry.method) == ("last", metric, method) and entry.mean == entry.mean
        }
        if found:
            return min(found, key=found.__getitem__)
    return None


def mean_separation(evaluations: Sequence[Evaluation]) -> dict[str, Any] | None:
    """Average a method's KS chart over seeds: both distribution functions, and where they are farthest apart.

    Returns:
        "probability", "target" and "confused", lists of one length, "margin" and "at"; None where there is no chart.
    """
    found = [evaluation.tables.get("separation_chart") for evaluation in evaluations]
    charts = [chart for chart in found if chart is not None and None not in chart["target"]]
    if not charts:
        return None
    target, confused = (
        torch.tensor([chart[name] for chart in charts], dtype=torch.float64).mean(0) for name in ("target", "confused")
    )
    distance = (confused - target).abs()
    place = int(distance.argmax())
    return {
        "probability": charts[0]["probability"],
        "target": target.tolist(),
        "confused": confused.tolist(),
        "margin": float(distance[place]),
        "at": charts[0]["probability"][place],
    }
