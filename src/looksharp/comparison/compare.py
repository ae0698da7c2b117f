"""Compare trained runs: measure them on the same images, test what differs, and show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from looksharp.comparison.costs import curves_of, training_costs
from looksharp.comparison.details import hardest_split, mean_separation
from looksharp.comparison.exporting import write_tables
from looksharp.comparison.grouping import Method, group_runs
from looksharp.comparison.images import common_data
from looksharp.comparison.measuring import measure
from looksharp.comparison.results import Comparison, MethodFacts
from looksharp.comparison.showing import make_gallery
from looksharp.comparison.statistics import PROCEDURE
from looksharp.data.split import Data
from looksharp.evaluation import Evaluation, evaluate_run
from looksharp.evaluation.suite import forwards
from looksharp.networks.profiling import profile
from looksharp.training.facts import read_facts
from looksharp.training.folder import Run, load_run
from looksharp.training.history import read_history
from looksharp.training.module import score_name

__all__ = ["compare"]

_CHECKPOINTS = ("last", "best")
_SUITES = ("classification", "attention")
_PAIRS = 10  # confused pairs of a method

_Measured = dict[str, list[dict[str, Evaluation]]]
"""Method -> for each seed, split -> what was measured."""


def compare(
    runs: Sequence[Path],
    out: Path = Path("comparison"),
    *,
    names: Sequence[str] | None = None,
    mechanism: str = "grad_cam",
    device: str = "auto",
    batch_size: int = 64,
    workers: int = 2,
    resamples: int = 2000,
    pictures: int = 4,
    points: int = 500,
    progress: bool = True,
) -> Path:
    """Compare runs, grouped into methods over their seeds; the first run's method is what others are held against.

    Writes OUT/report.html, OUT/comparison.csv, OUT/comparison.json, OUT/comparison.tex and OUT/figures.

    Args:
        runs: run folders of two methods or more.
        out: folder for what is written.
        names: a name for each method, in the order in which they come; see `group_runs`.
        mechanism: how maps are made.
        device: where networks run.
        batch_size: images a forward.
        workers: processes that read image files.
        resamples: of the bootstrap.
        pictures: images of a kind.
        points: the most images of a t-SNE.
        progress: show progress bars.

    Returns:
        The report's path.

    Raises:
        ValueError: if a number is too small, or the runs cannot be compared; see `group_runs` and `common_data`.
    """
    from looksharp.comparison.page import write_comparison

    _check_number("resamples", resamples, 100, 1_000_000)
    _check_number("pictures", pictures, 0, 1_000)
    _check_number("points", points, 0, 100_000)
    methods = group_runs(runs, names)
    data = common_data(methods)
    evaluations: dict[str, _Measured] = {
        checkpoint: {method.name: [] for method in methods} for checkpoint in _CHECKPOINTS
    }
    steps = [(checkpoint, method, path) for checkpoint in evaluations for method in methods for path in method.runs]
    total = len(steps) * forwards(_SUITES) * sum(map(len, data.tests.values()))
    with tqdm(total=total, desc="measuring", disable=not progress) as bar:
        for checkpoint, method, path in steps:
            found = evaluate_run(
                path,
                data=data,
                checkpoint=checkpoint,
                suites=_SUITES,
                mechanism=mechanism,
                device=device,
                batch_size=batch_size,
                workers=workers,
                progress=bar,
            )
            evaluations[checkpoint][method.name].append(found)
    shown = {method.name: load_run(method.runs[0], device=device) for method in methods}
    comparison = _assemble(methods, data, evaluations, shown, resamples)
    gallery = make_gallery(
        data.splits[comparison.shown],
        shown,
        {name: runs[0][comparison.shown] for name, runs in evaluations["last"].items()},
        mechanism=mechanism,
        pictures=pictures,
        points=points,
        progress=progress,
    )
    write_tables(out, comparison)
    return write_comparison(out, comparison, gallery)


def _check_number(name: str, value: int, least: int, most: int) -> None:
    if value < least:
        raise ValueError(f"{name} must be at least {least}; got {value}")
    if value > most:
        raise ValueError(f"{name} must be at most {most}; got {value}")


def _assemble(
    methods: Sequence[Method],
    data: Data,
    evaluations: Mapping[str, _Measured],
    shown: Mapping[str, Run],
    resamples: int,
) -> Comparison:
    entries = measure(evaluations, resamples)
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
