"""Turn a comparison's numbers into tables and sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from looksharp.comparison.results import Comparison, MethodFacts
from looksharp.drawing.tables import Cell, Table, column_cells
from looksharp.drawing.wording import duration, in_change, in_digits, in_words
from looksharp.experiments.differences import Entry
from looksharp.metrics.catalogue import curve_title, find_metric, on_topic

__all__ = ["checkpoint_words", "cost_rows", "entry_table", "main_metric", "metrics_of", "summary_of"]


def metrics_of(comparison: Comparison) -> list[str]:
    """Return all metrics, in the order in which they come."""
    return list(dict.fromkeys(entry.metric for entry in comparison.entries))


def main_metric(comparison: Comparison) -> str | None:
    """Return the metric of the big table."""
    present = metrics_of(comparison)
    return next((name for name in on_topic("main") if name in present), None)


def checkpoint_words(checkpoint: str) -> str:
    """Put a checkpoint in words."""
    return {"last": "last epoch", "best": "epoch of the best validation score"}.get(checkpoint, checkpoint)


def entry_table(comparison: Comparison, checkpoint: str, name: str) -> Table:
    """Return the table of one metric: methods in rows, splits in columns, without splits where no method has it."""
    metric = find_metric(name)
    found = {(entry.split, entry.method): entry for entry in comparison.of(checkpoint, name)}
    methods = [method.name for method in comparison.methods]
    columns = {}
    for split in comparison.images:
        entries = [found[split, method] for method in methods if (split, method) in found]
        if any(math.isfinite(entry.mean) for entry in entries):
            cells = column_cells([entry.mean for entry in entries], metric)
            columns[split] = [_compared(cell, entry) for cell, entry in zip(cells, entries, strict=True)]
    rows = {method: [cells[row] for cells in columns.values()] for row, method in enumerate(methods)}
    return Table(metric, tuple(columns), rows, checkpoint_words(checkpoint))


def _compared(cell: Cell, entry: Entry) -> Cell:
    metric = find_metric(entry.metric)
    if math.isfinite(entry.std):
        points = f"{entry.std:.1%}".removesuffix("%") if metric.percent else f"{entry.std:.3f}"
        cell = replace(cell, spread=f"± {points}")
    if math.isfinite(entry.difference):
        change = in_change(entry.difference, metric.percent)
        gained = entry.difference > 0 if metric.better == "higher" else entry.difference < 0
        verdict = "same" if not entry.significant or not metric.better else "better" if gained else "worse"
        cell = replace(cell, difference=change, verdict=verdict, significant=entry.significant)
    if math.isfinite(entry.low):
        ends = " to ".join(in_change(end, metric.percent) for end in (entry.low, entry.high))
        cell = replace(cell, interval=ends, p_value=_p_words(entry.p_corrected))
    return cell


def _p_words(p_value: float) -> str:
    if not math.isfinite(p_value):
        return ""
    return "p < .001" if p_value < 0.001 else f"p = {p_value:.3f}".replace("0.", ".", 1)


def summary_of(comparison: Comparison) -> str:
    """Put the main finding on the shown split in words."""
    name = main_metric(comparison)
    entries = [e for e in comparison.of("last", name or "") if e.split == comparison.shown]
    if not entries:
        return ""
    label, first = find_metric(name or "").label, entries[0]
    sentences = [f"{label} on {comparison.shown}: {first.method} reaches {first.mean:.1%}."]
    for entry in entries[1:]:
        interval = ""
        if math.isfinite(entry.low):
            ends = " to ".join(in_change(end, True) for end in (entry.low, entry.high))
            known = "a significant difference" if entry.significant else "not a significant difference"
            interval = f", 95% interval {ends}: {known}"
        sentences.append(
            f"{entry.method} reaches {entry.mean:.1%} ({in_change(entry.difference, True)} points{interval})."
        )
    return " ".join(sentences)


def cost_rows(methods: Sequence[MethodFacts]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the column heads, and the cells of each method."""
    first = methods[0].cost
    score, metric = curve_title(first.score)
    heads = ["Training", "against the first", "Epochs", "Parameters", "FLOPs an image", "Time an image"]
    heads.append(f"{score}, after the fastest method's time")
    rows = {}
    for method in methods:
        cost = method.cost
        spread = f" ± {duration(cost.seconds_std)}" if math.isfinite(cost.seconds_std) else ""
        then = in_words(cost.score_then, metric.percent)
        if math.isfinite(cost.epochs_then):
            then += f" (epoch {cost.epochs_then:g})" if cost.epochs_then else " (no epoch ended)"
        rows[method.name] = [
            duration(cost.seconds) + spread,
            f"× {cost.seconds / first.seconds:.2f}" if cost.seconds > 0 and first.seconds > 0 else "–",
            in_digits(cost.epochs),
            in_digits(cost.parameters),
            in_digits(cost.flops),
            f"{cost.seconds_per_image * 1000:.3g} ms" if math.isfinite(cost.seconds_per_image) else "–",
            then,
        ]
    return heads, rows
