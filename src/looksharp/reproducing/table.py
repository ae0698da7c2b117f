"""Write a recipe's results beside the paper's figures: results.md, results.csv and results.json."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from looksharp.experiments.record import Record, read_records
from looksharp.experiments.statistics import summarize
from looksharp.files import write_text
from looksharp.networks.profiling import accuracy_per_million
from looksharp.reproducing.figure import Measure
from looksharp.reproducing.measuring import CHECKPOINTS, figure_name
from looksharp.reproducing.recipe import Recipe

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
        best_difference: likewise, of the best epoch, since papers do not always say which epoch they report.
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
    best_difference: float | None
    seeds: tuple[int, ...]
    commit: str
    hardware: str


def write_tables(recipe: Recipe, folder: Path, scale: float = 1.0, records: Sequence[Record] | None = None) -> None:
    """Write the table of all finished runs below a folder, or of other records, each file at once.

    Args:
        recipe: whose table it is.
        folder: where it is written.
        scale: see `reproduce`.
        records: what was measured; read from the folder if not given.
    """
    records = read_records(folder) if records is None else records
    lines = lines_of(recipe, records, scale)
    write_text(folder / "results.md", markdown(recipe, lines, scale))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*Line.__dataclass_fields__, "scale"])
    writer.writeheader()
    for line in lines:
        writer.writerow(asdict(line) | {"seeds": " ".join(map(str, line.seeds)), "scale": scale})
    write_text(folder / "results.csv", text.getvalue())
    content = {
        "recipe": recipe.name,
        "scale": scale,
        "lines": [asdict(line) for line in lines],
        "runs": [_facts(recipe, record, scale) for record in records],
    }
    write_text(folder / "results.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _facts(recipe: Recipe, record: Record, scale: float) -> dict[str, Any]:
    """Return a run's facts as results.json holds them."""
    facts = asdict(record)
    row, values = facts.pop("variant"), facts.pop("values")
    found = {
        metric: {c: values[name] for c in CHECKPOINTS if (name := figure_name(metric, c)) in values}
        for metric in recipe.measure
    }
    parameters = round(values.get("parameters", 0))
    return {"recipe": recipe.name, "row": row, "scale": scale, "figures": found, "parameters": parameters, **facts}


def lines_of(recipe: Recipe, records: Sequence[Record], scale: float = 1.0) -> list[Line]:
    """Return a line for each row and metric that has a figure, the paper's or ours."""
    lines = []
    for name, row in recipe.rows.items():
        own = [each for each in records if each.variant == name]
        base = {each.seed: each for each in records if each.variant == row.over}
        for metric, measure in recipe.measure.items():
            figures = (
                {each.seed: _figure(measure, figure_name(metric, checkpoint), each, row.over, base) for each in own}
                for checkpoint in CHECKPOINTS
            )
            last, best = ({seed: v for seed, v in found.items() if v is not None} for found in figures)
            paper = row.paper.get(metric)
            if paper is None and not last:
                continue
            ours, bests = summarize(list(last.values())), summarize(list(best.values()))
            compared = bool(last) and paper is not None and scale == 1
            lines.append(
                Line(
                    row=name,
                    label=row.label,
                    metric=metric,
                    paper=paper,
                    ours=ours.mean if last else None,
                    spread=ours.std if ours.count > 1 else None,
                    best=bests.mean if best else None,
                    difference=ours.mean - paper if compared and paper is not None else None,
                    best_difference=bests.mean - paper if compared and best and paper is not None else None,
                    seeds=tuple(last),
                    commit="; ".join(dict.fromkeys(each.commit for each in own)),
                    hardware="; ".join(dict.fromkeys(each.hardware for each in own)),
                )
            )
    return lines


def markdown(recipe: Recipe, lines: Sequence[Line], scale: float) -> str:
    """Return the table in Markdown."""
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
        "difference, last",
        "difference, best",
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
                _signed(line.difference, line.paper),
                _signed(line.best_difference, line.paper),
                " ".join(map(str, line.seeds)),
                line.commit,
                line.hardware,
            ]
        )
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    legend = (
        "Mean ± standard deviation over seeds (n - 1). The best epoch is the one that validated best, which favours it "
        "where validation reads the test images; papers do not always say which epoch they report."
    )
    return f"# {recipe.title}\n\n{smoke if scale < 1 else ''}`{recipe.name}`. {legend}\n\n{table}\n"


def _figure(measure: Measure, name: str, record: Record, over: str | None, base: Mapping[int, Record]) -> float | None:
    """Return a run's figure; a gain is over the base row's run with the same seed."""
    value = record.values.get(name)
    if value is None or (measure.gain and over is None and not measure.per_million):
        return None
    before, parameters = 0.0, 0
    if measure.gain and over is not None:
        other = base.get(record.seed)
        found = None if other is None else other.values.get(name)
        if other is None or found is None:
            return None
        before, parameters = found, round(other.values["parameters"])
    if not measure.per_million:
        return value - before
    return accuracy_per_million(value / 100, round(record.values["parameters"]), before / 100, parameters)


def _signed(difference: float | None, paper: float | None) -> str:
    """Format a difference, with more digits for figures below 1."""
    if difference is None or paper is None:
        return ""
    return f"{difference:+.4f}" if abs(paper) < 1 else f"{difference:+.2f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if 0 < abs(value) < 1 else f"{value:.2f}"
