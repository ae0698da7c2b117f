"""Turn a cure's numbers into tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from looksharp.curing.budget import Budget
from looksharp.curing.results import Measured
from looksharp.drawing.tables import Cell
from looksharp.drawing.wording import duration, in_points, in_words
from looksharp.interventions.division import OBJECTS, PIECES
from looksharp.metrics.catalogue import find_metric, on_topic

__all__ = ["ProofRow", "ProofTable", "budget_rows", "cost_rows", "effort", "main_metric", "price", "proof_table"]

_UNKNOWN = "unknown"


@dataclass(frozen=True)
class ProofRow:
    """One measure of interventions: its name, direction, a cell for each classifier, and the value of guessing."""

    title: str
    better: str
    cells: tuple[Cell, ...]
    chance: str


@dataclass(frozen=True)
class ProofTable:
    """Results of interventions on a split, on images of a kind such as "marked images"."""

    split: str
    images: int
    kind: str
    rows: tuple[ProofRow, ...]


def proof_table(columns: Sequence[Measured], split: str, *, pieces: bool = False) -> ProofTable:
    """Return the interventions on one split, by marks or by pieces, one row for each measure."""
    found = [(column.pieces if pieces else column.interventions)[split] for column in columns]
    rows = [
        ProofRow(
            title,
            better,
            tuple(
                Cell(in_words(each.values[name], True).replace("-", "−"), interval=_span(each.intervals[name]))
                for each in found
            ),
            in_words(found[0].chance[name], True) if name in found[0].chance else "",
        )
        for name, (title, better) in (PIECES if pieces else OBJECTS).measures.items()
    ]
    return ProofTable(split, len(found[0].images), "images with a piece" if pieces else "marked images", tuple(rows))


def _span(interval: tuple[float, float]) -> str:
    return (
        " to ".join(f"{100 * end:.1f}".replace("-", "−") for end in interval)
        if all(map(math.isfinite, interval))
        else ""
    )


def main_metric(columns: Sequence[Measured]) -> str:
    """Return the metric of the big table: accuracy, or mean average precision."""
    return next(name for name in on_topic("main") if any(name in values for values in columns[0].splits.values()))


def price(before: Measured, after: Measured, splits: Sequence[str]) -> str:
    """Say how accuracy changed and how many marks and how much time the cure took."""
    name = main_metric([before])
    changes = [
        f"{split} {in_words(before.splits[split][name], True)} → {in_words(after.splits[split][name], True)} "
        f"({in_points(after.splits[split][name] - before.splits[split][name])})"
        for split in splits
    ]
    return (
        f"{find_metric(name).label}: {', '.join(changes)}. It took {effort(after)} and "
        f"{duration(after.run.seconds)} of training (before: {_time(before)})."
    )


def cost_rows(columns: Sequence[Measured]) -> dict[str, list[str]]:
    """Return the marked images, epochs and training time of each classifier."""
    first = columns[0].run.seconds
    rows = {}
    for place, column in enumerate(columns):
        seconds = column.run.seconds
        times = f", × {seconds / first:.1f}" if place and first > 0 else ""
        epochs = str(column.run.config.training.epochs) if seconds else _UNKNOWN
        rows[column.name] = [_counted(column), epochs, _time(column) + times]
    return rows


def effort(column: Measured) -> str:
    """Say how many images were marked and how many groups ticked."""
    groups = f"{column.ticks:,} ticked group{'s' if column.ticks > 1 else ''}"
    if not column.ticks:
        return f"{column.marked:,} marked images"
    return f"{column.marked:,} marked images, {groups}" if column.marked else groups


def _counted(column: Measured) -> str:
    return effort(column) if column.ticks else f"{column.marked:,}"


def _time(column: Measured) -> str:
    """Return the time of a training; that of an adopted run is not known."""
    return duration(column.run.seconds) if column.run.seconds else _UNKNOWN


def budget_rows(budget: Budget) -> dict[int, list[Cell]]:
    """Return a cell for each measure, by number of marked images."""
    points = {measure: budget.points(measure) for measure in budget.measures}
    return {
        marked: [
            Cell(in_words(found[place].mean, True), interval=_span((found[place].low, found[place].high)))
            for found in points.values()
        ]
        for place, marked in enumerate(budget.marked)
    }
