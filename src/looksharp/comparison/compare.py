"""Compare trained runs: measure them on the same images, test what differs, and show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from looksharp.attention.mechanisms import check_asked
from looksharp.comparison.costs import curves_of, training_costs
from looksharp.comparison.details import hardest_split, mean_separation
from looksharp.comparison.exporting import write_tables
from looksharp.comparison.grouping import Method, group_runs
from looksharp.comparison.images import common_data
from looksharp.comparison.results import Comparison, MethodFacts
from looksharp.comparison.settings import CompareSettings
from looksharp.comparison.showing import make_gallery
from looksharp.data.split import Data
from looksharp.evaluation import Evaluation, evaluate_run
from looksharp.evaluation.suite import forwards
from looksharp.experiments.differences import compare_variants
from looksharp.experiments.statistics import PROCEDURE
from looksharp.networks.profiling import profile
from looksharp.training.facts import read_facts
from looksharp.training.folder import Run, load_run
from looksharp.training.history import read_history
from looksharp.training.module import score_name

__all__ = ["compare", "compare_runs"]

_CHECKPOINTS = ("last", "best")
_SUITES = ("classification", "attention")
_PAIRS = 10  # confused pairs of a method

_Measured = dict[str, list[dict[str, Evaluation]]]
"""Method -> for each seed, split -> what was measured."""


def compare(
    runs: Sequence[Path | str], out: Path | str = "comparison", *, progress: bool = True, **options: Any
) -> Path:
    """Compare runs, grouped into methods over their seeds; the first run's method is what others are held against.

    Writes OUT/report.html, OUT/comparison.csv, OUT/comparison.json, OUT/comparison.tex and OUT/figures.

    Args:
        runs: run folders of two methods or more.
        out: folder for what is written.
        progress: show progress bars.
        options: any other setting of `CompareSettings`, such as names=["plain", "ICASC"] or resamples=5000.

    Returns:
        The report's path.

    Raises:
        ValueError: if a setting is wrong, or the runs cannot be compared; see `group_runs` and `common_data`.
    """
    return compare_runs(CompareSettings(tuple(map(Path, runs)), Path(out), **options), progress)


def compare_runs(chosen: CompareSettings, progress: bool = True) -> Path:
    """Do what `compare` does, from its settings."""
    from looksharp.comparison.page import write_comparison

    check_asked(chosen.mechanism)
    methods = group_runs(chosen.runs, chosen.names)
    data = common_data(methods)
    evaluations = _evaluate(methods, data, chosen, progress)
    shown = {method.name: load_run(method.runs[0], device=chosen.device) for method in methods}
    comparison = _assemble(methods, data, evaluations, shown, chosen.resamples)
    gallery = make_gallery(
        data.splits[comparison.shown],
        shown,
        {name: runs[0][comparison.shown] for name, runs in evaluations["last"].items()},
        mechanism=chosen.mechanism,
        pictures=chosen.pictures,
        points=chosen.points,
        progress=progress,
    )
    write_tables(chosen.out, comparison)
    return write_comparison(chosen.out, comparison, gallery)


def _evaluate(methods: Sequence[Method], data: Data, chosen: CompareSettings, progress: bool) -> dict[str, _Measured]:
    """Evaluate both checkpoints of every run; return the evaluations by checkpoint."""
    evaluations: dict[str, _Measured] = {name: {method.name: [] for method in methods} for name in _CHECKPOINTS}
    steps = [(checkpoint, method, path) for checkpoint in evaluations for method in methods for path in method.runs]
    total = len(steps) * forwards(_SUITES) * sum(map(len, data.tests.values()))
    with tqdm(total=total, desc="measuring", unit=" forwards", unit_scale=True, disable=not progress) as bar:
        for checkpoint, method, path in steps:
            found = evaluate_run(
                path,
                data=data,
                checkpoint=checkpoint,
                suites=_SUITES,
                mechanism=chosen.mechanism,
                device=chosen.device,
                batch_size=chosen.batch_size,
                workers=chosen.workers,
                progress=bar,
            )
            evaluations[checkpoint][method.name].append(found)
    return evaluations


def _assemble(
    methods: Sequence[Method],
    data: Data,
    evaluations: Mapping[str, _Measured],
    shown: Mapping[str, Run],
    resamples: int,
) -> Comparison:
    entries = compare_variants(evaluations, resamples)
    split = hardest_split(entries, methods[0].name) or next(iter(data.tests))
    curves = {m.name: [curves_of(read_history(path / "metrics.csv")) for path in m.runs] for m in methods}
    costs = training_costs(curves, score_name(data.multilabel))
    facts = []
    for method in methods:
        run = shown[method.name]
        found = profile(run.model, run.pixels.size)
        cost = replace(
            costs[method.name],
            parameters=found.parameters,
            flops=found.flops,
            seconds_per_image=found.seconds_per_image,
        )
        paths = tuple(map(str, method.runs))
        facts.append(MethodFacts(method.name, paths, method.seeds, method.differs, cost, tuple(curves[method.name])))
    last, tests = evaluations["last"], data.tests
    charts = {
        name: {method: mean_separation([run[name] for run in runs]) for method, runs in last.items()} for name in tests
    }
    return Comparison(
        data=data.name,
        classes=data.classes,
        images={name: len(found) for name, found in tests.items()},
        shown=split,
        methods=tuple(facts),
        entries=tuple(entries),
        procedure=PROCEDURE.format(resamples=resamples, tests=sum(math.isfinite(e.p_value) for e in entries)),
        separation={
            name: {method: chart for method, chart in found.items() if chart is not None}
            for name, found in charts.items()
        },
        confused_pairs={name: runs[0][split].tables.get("confused_pairs", [])[:_PAIRS] for name, runs in last.items()},
        versions=read_facts(methods[0].runs[0]).versions,
    )
