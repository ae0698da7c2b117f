"""Write a comparison's numbers as CSV, JSON and a LaTeX table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from looksharp.comparison.results import Comparison
from looksharp.drawing.parts import plain
from looksharp.experiments.differences import Entry
from looksharp.files import write_text
from looksharp.metrics.catalogue import find_metric

__all__ = ["latex_table", "write_tables"]

_LATEX = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


def write_tables(out: Path, comparison: Comparison) -> None:
    """Write comparison.csv, comparison.json and comparison.tex; what is not finite is empty, or null."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [f.name for f in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    for entry in comparison.entries:
        writer.writerow({name: "" if value is None else value for name, value in plain(asdict(entry)).items()})
    write_text(out / "comparison.csv", text.getvalue())
    numbers = json.dumps(plain(asdict(comparison)), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(out / "comparison.json", numbers + "\n")
    write_text(out / "comparison.tex", latex_table(comparison))


def latex_table(comparison: Comparison) -> str:
    r"""Return a booktabs table: metrics and splits in rows, methods in columns; mean and deviation over seeds.

    The best of a row is bold; an asterisk marks a significant difference to the first method. It is one `tabular`,
    for `\input` inside a `table`.
    """
    methods = [method.name for method in comparison.methods]
    lines = [
        r"% \usepackage{booktabs}; inside a table: \input{comparison.tex}",
        "% " + " ".join(comparison.procedure.split()),
        r"\begin{tabular}{ll" + "r" * len(methods) + "}",
        r"\toprule",
        " & ".join(["Metric", "Split", *map(_escape, methods)]) + r" \\",
    ]
    rows: dict[str, dict[tuple[str, str], list[Entry]]] = {}
    for entry in comparison.entries:
        rows.setdefault(entry.checkpoint, {}).setdefault((entry.metric, entry.split), []).append(entry)
    for checkpoint, found in rows.items():
        lines += [r"\midrule", rf"\multicolumn{{{2 + len(methods)}}}{{l}}{{\emph{{{_escape(checkpoint)} epoch}}}} \\"]
        before = None
        for (name, split), entries in found.items():
            label = _label(name) if name != before else ""
            lines.append(" & ".join([label, _escape(split), *_cells(entries)]) + r" \\")
            before = name
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _label(name: str) -> str:
    metric = find_metric(name)
    arrow = {"higher": r" $\uparrow$", "lower": r" $\downarrow$", "": ""}[metric.better]
    return _escape(metric.label) + (r" (\%)" if metric.percent else "") + arrow


def _cells(entries: Sequence[Entry]) -> list[str]:
    metric = find_metric(entries[0].metric)
    scale, digits = (100, 1) if metric.percent else (1, 3)
    means = [f"{entry.mean * scale:.{digits}f}" if math.isfinite(entry.mean) else "--" for entry in entries]
    known = [float(mean) for mean in means if mean != "--"]
    best = (max if metric.better == "higher" else min)(known) if metric.better and len(set(known)) > 1 else None
    cells = []
    for entry, mean in zip(entries, means, strict=True):
        cell = rf"\textbf{{{mean}}}" if mean != "--" and float(mean) == best else mean
        if math.isfinite(entry.std):
            cell += rf" $\pm$ {entry.std * scale:.{digits}f}"
        cells.append(cell + ("$^{*}$" if entry.significant else ""))
    return cells


def _escape(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
