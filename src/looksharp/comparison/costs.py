"""Cost of methods: time, operations, and the score of each after the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import fmean, stdev

from looksharp.comparison.results import Cost

__all__ = ["Curves", "curves_of", "training_costs"]

Curves = dict[str, list[float]]
_PROGRESS = ("epoch", "seconds", "lr")


def curves_of(history: Sequence[dict[str, float]]) -> Curves:
    """Turn rows of a metrics.csv into columns: "epoch" from 1, "seconds" from the start, and each term and score."""
    names = dict.fromkeys(name for row in history for name in row if name not in _PROGRESS)
    curves = {name: [row.get(name, math.nan) for row in history] for name in names}
    curves["epoch"] = [row["epoch"] + 1 for row in history]
    curves["seconds"] = list(accumulate(row["seconds"] for row in history))
    return curves


def training_costs(methods: Mapping[str, Sequence[Curves]], score: str) -> dict[str, Cost]:
    """Return the training time of each method, and its validation score when the fastest method had ended.

    That is the score of the last epoch which a method ends within the fastest method's mean time, at its own mean
    time for an epoch. A learning rate that falls over all epochs has not fallen by then, so this is less than what
    the method would reach if it was trained for that time.

    Args:
        methods: method -> each run's curves.
        score: name of the validation score.
    """
    totals = {name: [run["seconds"][-1] for run in runs if run["seconds"]] for name, runs in methods.items()}
    fastest = min((fmean(values) for values in totals.values() if values), default=math.nan)
    costs = {}
    for name, runs in methods.items():
        seconds, epochs = totals[name], sum(len(run["seconds"]) for run in runs)
        if not epochs:
            costs[name] = Cost(score=score)
            continue
        # Rounded, because the fastest method's own number may come out just below a whole one.
        within = math.floor(round(fastest * epochs / sum(seconds), 6))
        then = [run[score][min(within, len(run[score])) - 1] for run in runs if within and run.get(score)]
        costs[name] = Cost(
            seconds=fmean(seconds),
            seconds_std=stdev(seconds) if len(seconds) > 1 else math.nan,
            epochs=epochs / len(runs),
            score=score,
            score_then=fmean(then) if then else math.nan,
            epochs_then=within,
        )
    return costs
