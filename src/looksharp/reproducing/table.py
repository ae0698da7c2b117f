"""A recipe's results beside the paper's figures: results.md, results.csv and results.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev

from looksharp.files import write_text
from looksharp.networks.profiling import accuracy_per_million
from looksharp.reproducing.measure import Measure
from looksharp.reproducing.recipe import Recipe
from looksharp.reproducing.results import Result, read_results

__all__ = ["Line", "lines_of", "markdown", "write_tables"]


@dataclass(frozen=True)
class Line:
    """One figure of one row.

    Attributes:
        row: short name.
        label: the row as the paper names it.
        metric: what is measured.
        paper: the paper's figure.
        ours: mean over seeds, of the last epoch.
        spread: standard deviation over seeds (n - 1).
        best: mean over seeds, of the epoch that validated best.
        difference: ours less the paper's; None in a smoke run, which is compared with nothing.
        seeds: of which the mean is.
        commit: of this library, where several, all.
        hardware: likewise.
    """

    row: str
    label: str
    metric: str
    paper: float | None
    ours: float | None
    spread: float | None
    best: float | None
    difference: float | None
    seeds: tuple[int, ...]
    commit: str
    hardware: str


def write_tables(recipe: Recipe, folder: Path) -> None:
    """Write the table of all finished runs below a folder, each file at once."""
    results = read_results(folder)
    lines = lines_of(recipe, results)
    write_text(folder / "results.md", markdown(recipe, lines, _scale(results)))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Line.__dataclass_fields__, "scale"])
    writer.writeheader()
    for line in lines:
        writer.writerow(asdict(line) | {"seeds": " ".join(map(str, line.seeds)), "scale": _scale(results)})
    write_text(folder / "results.csv", text.getvalue())
    content = {
        "recipe": recipe.name,
        "scale": _scale(results),
        "lines": [asdict(line) for line in lines],
        "runs": [asdict(result) for result in results],
    }
    write_text(folder / "results.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def lines_of(recipe: Recipe, results: Sequence[Result]) -> list[Line]:
    """A line for each row and metric that has a figure, the paper's or ours."""
    lines = []
    for name, row in recipe.rows.items():
        own = [each for each in results if each.row == name]
        base = [each for each in results if each.row == row.over]
        for metric, measure in recipe.measure.items():
            last = {each.seed: _figure(measure, metric, "last", each, row.over, base) for each in own}
            best = {each.seed: _figure(measure, metric, "best", each, row.over, base) for each in own}
            found = {seed: value for seed, value in last.items() if value is not None}
            figures, paper = list(found.values()), row.paper.get(metric)
            if paper is None and not figures:
                continue
            bests = [value for value in best.values() if value is not None]
            ours = fmean(figures) if figures else None
            compared = ours is not None and paper is not None and _scale(own) == 1
            lines.append(
                Line(
                    row=name,
                    label=row.label,
                    metric=metric,
                    paper=paper,
                    ours=ours,
                    spread=stdev(figures) if len(figures) > 1 else None,
                    best=fmean(bests) if bests else None,
                    difference=ours - paper if compared and ours is not None and paper is not None else None,
                    seeds=tuple(found),
                    commit="; ".join(dict.fromkeys(each.commit for each in own)),
                    hardware="; ".join(dict.fromkeys(each.hardware for each in own)),
                )
            )
    return lines


def markdown(recipe: Recipe, lines: Sequence[Line], scale: float) -> str:
    """The table for people."""
    smoke = (
        f"**Smoke run at scale {scale:g}: that share of epochs and images. Not a reproduction; nothing here is to be "
        "compared with the paper.**\n\n"
    )
    head = [
        "row",
        "metric",
        "paper",
        "ours, last epoch",
        "ours, best epoch",
        "difference",
        "seeds",
        "commit",
        "hardware",
    ]
    rows = [head, ["---"] * len(head)]
    for line in lines:
        spread = "" if line.spread is None else f" ± {_number(line.spread)}"
        rows.append(
            [
                line.label,
                line.metric,
                _number(line.paper),
                _number(line.ours) + spread,
                _number(line.best),
                _signed(line),
                " ".join(map(str, line.seeds)),
                line.commit,
                line.hardware,
            ]
        )
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    legend = (
        "Mean ± standard deviation over seeds (n - 1). The difference is of the last epoch; the best is the one that "
        "validated best, which favours it where validation reads the test images."
    )
    return f"# {recipe.title}\n\n{smoke if scale < 1 else ''}`{recipe.name}`. {legend}\n\n{table}\n"


def _figure(
    measure: Measure, metric: str, checkpoint: str, result: Result, over: str | None, base: Sequence[Result]
) -> float | None:
    """A run's figure; of a gain, over the base row's run with the same seed."""
    value = result.figures.get(metric, {}).get(checkpoint)
    before, parameters = 0.0, 0
    if measure.gain and over is None and not measure.per_million:
        return None
    if measure.gain and over is not None:
        other = next((each for each in base if each.seed == result.seed), None)
        found = None if other is None else other.figures.get(metric, {}).get(checkpoint)
        if other is None or found is None:
            return None
        before, parameters = found, other.parameters
    if value is None:
        return None
    if not measure.per_million:
        return value - before
    return accuracy_per_million(value / 100, result.parameters, before / 100, parameters)


def _scale(results: Sequence[Result]) -> float:
    return min((each.scale for each in results), default=1.0)


def _signed(line: Line) -> str:
    """The difference, of figures below 1 with the digits that count there."""
    if line.difference is None or line.paper is None:
        return ""
    return f"{line.difference:+.4f}" if abs(line.paper) < 1 else f"{line.difference:+.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if 0 < abs(value) < 1 else f"{value:.2f}"
