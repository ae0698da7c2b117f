"""Tables of one metric, a run a row and a split a column, as the page shows them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from looksharp.drawing.wording import in_points, in_words
from looksharp.metrics.catalogue import Metric, find_metric

__all__ = ["Cell", "RunValues", "Table", "column_cells", "metric_table", "metrics_of", "splits_of"]


@dataclass(frozen=True)
class Cell:
    """One number: its text, whether it is its column's best, its difference to the first run."""

    text: str
    best: bool = False
    difference: str = ""
    verdict: str = ""  # of the difference: "better", "worse", "same"
    spread: str = ""  # over seeds
    interval: str = ""  # of the difference
    p_value: str = ""  # of its test
    significant: bool = False


@dataclass(frozen=True)
class Table:
    """One metric of every run (rows) on every split (columns) that has it."""

    metric: Metric
    splits: tuple[str, ...]
    rows: dict[str, list[Cell]]
    remark: str = ""  # behind the metric's name


RunValues = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Run -> split -> metric -> value; the others are compared with the first run."""


def splits_of(runs: RunValues) -> list[str]:
    """Return all splits of all runs, in the order in which they come."""
    return list(dict.fromkeys(split for splits in runs.values() for split in splits))


def metrics_of(runs: RunValues) -> list[str]:
    """Return all metrics of all runs, in the order in which they come."""
    return list(dict.fromkeys(name for splits in runs.values() for values in splits.values() for name in values))


def metric_table(runs: RunValues, name: str) -> Table:
    """Return the table of one metric, without the splits where no run has it.

    A column's best is marked, ties included, unless all values tie. Shares have differences to the first run.
    """
    metric = find_metric(name)
    columns = {}
    for split in splits_of(runs):
        values = [splits.get(split, {}).get(name, math.nan) for splits in runs.values()]
        if any(map(math.isfinite, values)):
            columns[split] = column_cells(values, metric)
    rows = {run: [cells[row] for cells in columns.values()] for row, run in enumerate(runs)}
    return Table(metric, tuple(columns), rows)


def column_cells(values: list[float], metric: Metric) -> list[Cell]:
    """Fill a column: each run's value, the best marked, and the differences of shares to the first."""
    # Compared as shown, so that numbers that look equal are marked alike.
    known = sorted((value for value in values if math.isfinite(value)), reverse=metric.better == "higher")
    shown = [in_words(value, metric.percent) for value in known]
    best = shown[0] if metric.better and len(set(shown)) > 1 else None
    cells = []
    for place, value in enumerate(values):
        difference = value - values[0]
        text, change, verdict = in_words(value, metric.percent), "", ""
        if place and metric.percent and math.isfinite(difference):
            change = in_points(difference)
            gained = difference > 0 if metric.better == "higher" else difference < 0
            verdict = "same" if change[0] == "±" else "better" if gained else "worse"
        cells.append(Cell(text, text == best, change, verdict))
    return cells
