"""Write the page of a cure: the verdict, the proof and their details."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from looksharp.curing.charts import DotGroup, dots, steps
from looksharp.curing.pictures import draw_examples, show_example
from looksharp.curing.results import Findings, Measured
from looksharp.curing.tables import ProofTable, budget_rows, cost_rows, main_metric, price, proof_table
from looksharp.curing.verdict import RULE, RULE_OF_PIECES, deciding_split
from looksharp.drawing.charts import bars, run_colors
from looksharp.drawing.parts import Chart, draw_chart, environment, gradient, plain
from looksharp.drawing.tables import metric_table, metrics_of
from looksharp.drawing.wording import in_words
from looksharp.files import replacing, write_text
from looksharp.interventions.division import OBJECTS, PIECES
from looksharp.interventions.intervene import Interventions
from looksharp.metrics.catalogue import find_metric, on_topic

__all__ = ["write_cure"]


def write_cure(out: Path, findings: Findings) -> Path:
    """Write OUT/report.html, which holds all it shows, OUT/results.json, and charts and pictures in OUT/figures.

    Returns:
        The page's path.
    """
    columns = findings.columns
    values = {column.name: column.splits for column in columns}
    chance = math.nan if columns[0].run.multilabel else 1 / len(findings.classes)
    verdict, main, present = findings.verdicts[findings.cure], main_metric(columns), metrics_of(values)
    names = [column.name for column in columns]
    light, dark = run_colors(names), run_colors(names, dark=True)
    # Of what the proof reads first; the verdict may be on another split, by marks.
    split = deciding_split(findings.before.proof)
    charts = _charts(findings, split, main)
    for name, chart in charts.items():
        with replacing(out / "figures" / f"{name}.svg") as temporary:
            temporary.write_bytes(chart.on_light)
    draw_examples(out / "figures", findings.examples)
    if findings.budget is not None:
        write_text(out / "budget.csv", findings.budget.table.csv("marked"))
    write_text(out / "results.json", json.dumps(plain(_facts(findings)), indent=2, ensure_ascii=False) + "\n")
    proofs, others = _proof_tables(findings, split)
    shown = [main, "worst_group", *(["attention_inside"] if findings.examples else [])]
    more = sorted((name for name in present if name not in shown), key=lambda name: name not in on_topic("attention"))
    page = (
        environment()
        .get_template("curing/page.html.jinja")
        .render(
            findings=findings,
            verdict=verdict,
            others={name: found for name, found in findings.verdicts.items() if name != findings.cure},
            warnings={name: found.warning for name, found in findings.verdicts.items() if found.warning},
            price=price(findings.before, findings.after, findings.tests),
            rule=RULE_OF_PIECES if findings.before.pieces else RULE,
            colors={name: (light[name], dark[name]) for name in names},
            charts=charts,
            proofs=proofs,
            by_marks=others,
            examples=[show_example(example) for example in findings.examples],
            scale=gradient(True),
            accuracy=metric_table(values, main),
            worst=metric_table(values, "worst_group") if "worst_group" in present else None,
            inside=metric_table(values, "attention_inside") if "attention_inside" in present else None,
            chance=in_words(chance, True),
            budget_rows=None if findings.budget is None else budget_rows(findings.budget),
            more=[metric_table(values, name) for name in more],
            costs=cost_rows(columns),
        )
    )
    write_text(out / "report.html", page)
    return out / "report.html"


def _proof_tables(findings: Findings, first: str) -> tuple[list[ProofTable], list[ProofTable]]:
    """Return the tables of what the verdict reads first, the deciding split before others, and those by marks."""
    before, columns = findings.before, findings.columns
    splits = sorted(before.proof, key=lambda split: split != first)
    tables = [proof_table(columns, split, pieces=bool(before.pieces)) for split in splits]
    return tables, [proof_table(columns, split) for split in before.interventions if before.pieces]


def _charts(findings: Findings, split: str, main: str) -> dict[str, Chart]:
    """Return the charts "interventions", "accuracy" and "budget" by file name, as far as there are values."""
    columns, label = findings.columns, find_metric(main).label
    charts = {}
    if split:
        charts["interventions"] = draw_chart(
            f"Interventions on {split}",
            f"Dots with 95% intervals: what each classifier gets right under interventions on {split}. The table below "
            f"holds the same numbers.",
            partial(_draw_interventions, columns, split),
        )
    values = {
        column.name: {name: found.get(main, math.nan) for name, found in column.splits.items()} for column in columns
    }
    alt = f"Bars: {label} of each classifier on each split. The table beside it holds the same numbers."
    chance = 1 / len(findings.classes) if main == "top1" else None
    charts["accuracy"] = draw_chart(label, alt, lambda dark: bars(values, chance=chance, dark=dark))
    budget = findings.budget
    if budget is not None:
        alt = (
            f"Lines: accuracy against the number of {budget.unit.lower()}. The table beside it holds the same numbers."
        )
        series = {measure: budget.points(measure) for measure in budget.measures}
        draw = partial(steps, series, budget.marked, xlabel=budget.unit, ylabel=label)
        charts["budget"] = draw_chart(budget.unit, alt, lambda dark: draw(dark=dark))
    return charts


def _draw_interventions(columns: Sequence[Measured], split: str, dark: bool) -> bytes:
    groups = []
    found = {column.name: column.proof[split] for column in columns}
    for name, (title, better) in (PIECES if columns[0].pieces else OBJECTS).measures.items():
        runs = {run: (each.values[name], *each.intervals[name]) for run, each in found.items()}
        chance = columns[0].proof[split].chance.get(name)
        groups.append(DotGroup(title, better, runs, None if name == "background_gap" else chance))
    return dots(groups, dark=dark)


def _facts(findings: Findings) -> dict[str, Any]:
    """Return the findings as JSON values, without pictures and networks."""
    budget = findings.budget
    return {
        "title": findings.words.title,
        "data": findings.data,
        "classes": findings.classes,
        "cure": findings.cure,
        "verdicts": {name: asdict(verdict) for name, verdict in findings.verdicts.items()},
        "rule": RULE_OF_PIECES if findings.before.pieces else RULE,
        "note": findings.words.note,
        "classifiers": {column.name: _column_facts(column) for column in findings.columns},
        "budget": None
        if budget is None
        else [{"marked": marked, "seed": seed, **values} for (marked, seed), values in budget.rows.items()],
        "split_notes": findings.words.split_notes,
        "settings": findings.words.settings,
        "versions": findings.versions,
    }


def _column_facts(column: Measured) -> dict[str, Any]:
    return {
        "description": column.description,
        "run": str(column.run.path),
        "marked": column.marked,
        "epochs": column.run.config.training.epochs,
        "seconds": column.run.seconds,
        "splits": column.splits,
        "interventions": {split: _proof_facts(found) for split, found in column.interventions.items()},
        "pieces": {split: _proof_facts(found) for split, found in column.pieces.items()},
        "ticks": column.ticks,
    }


def _proof_facts(found: Interventions) -> dict[str, Any]:
    return {
        "images": len(found.images),
        "values": found.values,
        "intervals": found.intervals,
        "chance": found.chance,
        "left_out": found.left_out,
    }
