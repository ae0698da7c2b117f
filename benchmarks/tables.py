"""Figures over seeds as a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

__all__ = ["table"]


def table(found: Mapping[str, Mapping[str, list[float]]], methods: Sequence[str]) -> str:
    """A row for each method: mean ± standard deviation over seeds, and the mean difference to the first method.

    Args:
        found: column -> method -> a value for each seed.
        methods: the rows, in order.
    """
    lines = ["| method | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in methods:
        cells = [_cell(values.get(name, []), values.get(methods[0], [])) for values in found.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float], first: list[float]) -> str:
    if not values:
        return "-"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    difference = statistics.mean(v - p for v, p in zip(values, first, strict=True)) if first else 0.0
    return f"{statistics.mean(values):.3f} ± {spread:.3f} ({difference:+.3f})"
