"""Draw a comparison's charts: scores, curves over seeds, KS charts, images as points."""

from __future__ import annotations

import math
from collections.abc import Mapping

from looksharp.comparison.drawings import draw_projection, draw_separation
from looksharp.comparison.results import Comparison, Projection
from looksharp.comparison.tables import main_metric
from looksharp.drawing.charts import bars, curves, run_colors
from looksharp.drawing.parts import Chart, draw_chart
from looksharp.drawing.wording import in_words
from looksharp.metrics.catalogue import curve_title, find_metric

__all__ = ["comparison_charts"]


def comparison_charts(comparison: Comparison, projections: Mapping[str, Projection]) -> dict[str, dict[str, Chart]]:
    """Return the charts by kind ("score", "separation", "projection", "curve", "time") and file name."""
    scores, time = _score_chart(comparison), _time_chart(comparison)
    return {
        "score": {} if scores is None else {"score": scores},
        "separation": {f"separation-{split}": _separation_chart(comparison, split) for split in comparison.separation},
        "projection": {
            f"projection-{number}": _projection_chart(comparison, method, projections[method])
            for number, method in enumerate(projections, 1)
            if len(projections[method].points)
        },
        "curve": {f"curve-{name}": _curve_chart(comparison, name) for name in _curve_names(comparison)},
        "time": {} if time is None else {"time": time},
    }


def _colors(comparison: Comparison, dark: bool) -> dict[str, str]:
    return run_colors((method.name for method in comparison.methods), dark=dark)


def _score_chart(comparison: Comparison) -> Chart | None:
    name = main_metric(comparison)
    if name is None:
        return None
    entries = comparison.of("last", name)
    means: dict[str, dict[str, float]] = {method.name: {} for method in comparison.methods}
    spreads: dict[str, dict[str, float]] = {method.name: {} for method in comparison.methods}
    for entry in entries:
        means[entry.method][entry.split], spreads[entry.method][entry.split] = entry.mean, entry.std
    label = find_metric(name).label
    spread = "with one standard deviation over seeds" if any(len(m.runs) > 1 for m in comparison.methods) else ""
    alt = f"Bars: {label} of each method on each split {spread}. The table beside it holds the same numbers."
    chance = 1 / len(comparison.classes) if name == "top1" else None
    return draw_chart(
        label,
        alt,
        lambda dark: bars(means, chance=chance, spreads=spreads, colors=_colors(comparison, dark), dark=dark),
    )


def _curve_names(comparison: Comparison) -> list[str]:
    names = (name for method in comparison.methods for run in method.curves for name in run)
    return [name for name in dict.fromkeys(names) if name not in ("epoch", "seconds")]


_Line = tuple[list[float], list[float], list[float], list[float]]  # x, mean, lowest, highest


def _over_seeds(runs: tuple[dict[str, list[float]], ...], name: str, along: str = "epoch") -> _Line:
    """Return mean, lowest and highest over the runs that got that far."""
    rows: dict[int, tuple[list[float], list[float]]] = {}
    for run in runs:
        for epoch, (x, y) in enumerate(zip(run[along], run.get(name, []), strict=False)):
            if math.isfinite(y):
                xs, ys = rows.setdefault(epoch, ([], []))
                xs.append(x)
                ys.append(y)
    found = [rows[epoch] for epoch in sorted(rows)]
    return (
        [sum(x) / len(x) for x, _ in found],
        [sum(y) / len(y) for _, y in found],
        [min(y) for _, y in found],
        [max(y) for _, y in found],
    )


def _lines(comparison: Comparison, name: str, along: str = "epoch") -> dict[str, _Line]:
    lines = {method.name: _over_seeds(method.curves, name, along) for method in comparison.methods}
    return {method: line for method, line in lines.items() if line[0]}


def _draw_lines(
    comparison: Comparison, lines: Mapping[str, _Line], ylabel: str, percent: bool, xlabel: str, dark: bool
) -> bytes:
    return curves(
        {method: (line[0], line[1]) for method, line in lines.items()},
        ylabel=ylabel,
        xlabel=xlabel,
        percent=percent,
        bands={method: (line[2], line[3]) for method, line in lines.items()},
        colors=_colors(comparison, dark),
        dark=dark,
    )


def _curve_chart(comparison: Comparison, name: str) -> Chart:
    title, metric = curve_title(name)
    lines = _lines(comparison, name)
    ends = ", ".join(f"{method} {in_words(line[1][-1], metric.percent)}" for method, line in lines.items())
    alt = f"Lines over the epochs: {title}, mean over seeds. At the end: {ends}."
    return draw_chart(
        title, alt, lambda dark: _draw_lines(comparison, lines, metric.label, metric.percent, "Epoch", dark)
    )


def _time_chart(comparison: Comparison) -> Chart | None:
    score = comparison.methods[0].cost.score
    lines = _lines(comparison, score, "seconds")
    if not lines:
        return None
    title, metric = curve_title(score)
    title = f"{title}, against training time"
    ends = ", ".join(f"{method} {line[0][-1]:.0f} s" for method, line in lines.items())
    alt = f"Lines over seconds of training: {title}. Each ends after: {ends}."
    return draw_chart(
        title,
        alt,
        lambda dark: _draw_lines(comparison, lines, metric.label, metric.percent, "Seconds of training", dark),
    )


def _separation_chart(comparison: Comparison, split: str) -> Chart:
    """Draw the distributions of the true and the most confusing class's probability (ICASC Fig. 9)."""
    found = comparison.separation[split]
    margins = ", ".join(f"{method} {chart['margin']:.2f} at {chart['at']:.2f}" for method, chart in found.items())
    alt = (
        f"KS chart of {split}: share of images whose true class (solid) or most confusing class (dashed) has at most "
        f"a probability. Largest distance: {margins}."
    )
    return draw_chart(split, alt, lambda dark: draw_separation(found, _colors(comparison, dark), dark))


def _projection_chart(comparison: Comparison, method: str, projection: Projection) -> Chart:
    alt = (
        f"Points: {len(projection.points)} images of {comparison.shown} as {method} sees them, coloured by class; "
        f"images that it sees as alike lie close."
    )
    return draw_chart(method, alt, lambda dark: draw_projection(projection, comparison.classes, dark))
