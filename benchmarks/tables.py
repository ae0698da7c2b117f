"""Figures over seeds as a Markdown table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

__all__ = ["table"]


def table(found: Mapping[str, Mapping[str, list[float]]], methods: Sequence[str], digits: int = 3) -> str:
    """A row for each method: mean ± standard deviation over seeds, and the mean difference to the first method.

    Args:
        found: column -> method -> a value for each seed; NaN where training diverged.
        methods: the rows, in order.
        digits: behind the point.
    """
    lines = ["| method | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for name in methods:
        first = methods[0] if name != methods[0] else ""
        cells = [_cell(values.get(name, []), values.get(first, []), digits) for values in found.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: list[float], first: list[float], digits: int) -> str:
    if not values:
        return "-"
    diverged = sum(math.isnan(value) for value in values)
    if diverged:
        return f"{diverged} of {len(values)} diverged"
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    text = f"{statistics.mean(values):.{digits}f} ± {spread:.{digits}f}"
    if not first or any(map(math.isnan, first)):
        return text
    return f"{text} ({statistics.mean(v - p for v, p in zip(values, first, strict=True)):+.{digits}f})"
