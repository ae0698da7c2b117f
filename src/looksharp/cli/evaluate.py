"""Measure runs: how well they classify, and where they look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser, Namespace

from looksharp.cli.options import add_model_arguments

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.training.folder import Run

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    from looksharp.evaluation import SUITES

    parser.add_argument("runs", type=Path, nargs="+", help="Run folders.")
    add_model_arguments(parser)
    costs = "; ".join(f"{name}: {suite.cost}" for name, suite in SUITES.items())
    parser.add_argument(
        "--suite",
        nargs="+",
        choices=(*SUITES, "all"),
        default=["classification", "attention"],
        help=f"What to measure. Each costs, for an image, {costs}. Those of 1 forward share it. What was measured is "
        "kept in RUN/evaluation.",
    )
    parser.add_argument("--refresh", action="store_true", help="Measure again what is kept in RUN/evaluation.")
    parser.add_argument("--data", type=str, default=None, help="Other images than the run's own; see train.")
    parser.add_argument("--root", type=Path, default=None, help="Folder of that set's files.")
    parser.add_argument(
        "--layers", type=list[str], default=None, help="The inner layer and the last; found if not given."
    )
    parser.add_argument("--cue_class", default=None, help="Instead: does this class survive without its cue?")
    parser.add_argument("--without_cue", type=Path, default=None, help="Images of that class without its cue.")
    parser.add_argument("--cue_alone", type=Path, default=None, help="Images of the cue without that class.")
    parser.add_argument(
        "--json",
        type=Path,
        default=None,
        help="Also write values, tables and costs to this file; of several runs, a list.",
    )
    parser.add_argument("--batch_size", type=int, default=64, help="Images a forward.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that read image files.")


def run(settings: Namespace) -> None:
    from looksharp.files import write_text

    for path in settings.runs:  # before long work starts
        _read_facts(path)
    found = _evaluate(settings) if settings.cue_class is None else _test_cue(settings)
    print(_tables(found))
    if settings.json is not None:
        facts = [vars(each) for each in found]
        text = json.dumps(facts[0] if len(facts) == 1 else facts, indent=2, ensure_ascii=False)
        write_text(settings.json, text + "\n")


@dataclass
class _Found:
    """What is printed and written of a run; see `Evaluation` for values and tables."""

    run: str
    data: str
    checkpoint: str
    splits: dict[str, dict[str, float]]  # split -> values
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)  # split -> tables
    profile: dict[str, Any] = field(default_factory=dict)


def _evaluate(settings: Namespace) -> list[_Found]:
    from tqdm import tqdm

    from looksharp.attention.mechanisms import find_mechanism
    from looksharp.data.build import build_data
    from looksharp.evaluation import evaluate_run
    from looksharp.evaluation.catalogue import check_suites, forwards
    from looksharp.evaluation.measuring import check_layers
    from looksharp.training.folder import load_run, read_config

    find_mechanism(settings.mechanism)
    check_layers(settings.layers)
    suites = check_suites(settings.suite)
    build = lru_cache(maxsize=1)(build_data)  # runs often share their images

    def data_of(path: Path) -> Data:
        config = read_config(path)
        other = replace(config.data, data=settings.data or config.data.data, root=settings.root or config.data.root)
        return build(other, config.training.seed)

    def images_of(path: Path) -> int:
        if settings.data is None and settings.root is None:
            counts = _read_facts(path)["images"]
            return sum(counts[name] for name in counts.keys() - {"train", "val"}) or counts["val"]
        return sum(map(len, data_of(settings.runs[0]).tests.values()))

    found = []
    total = sum(map(images_of, settings.runs)) * forwards(suites)
    # Delayed, so that an error at the start stands by itself.
    with tqdm(total=total, unit=" forwards", unit_scale=True, leave=False, delay=1) as bar:
        for path in settings.runs:
            bar.set_description(path.name, refresh=False)
            run, data = load_run(path, settings.checkpoint, settings.device), data_of(path)
            evaluations = evaluate_run(
                run,
                data=data,
                checkpoint=settings.checkpoint,
                suites=suites,
                mechanism=settings.mechanism,
                layers=settings.layers,
                batch_size=settings.batch_size,
                workers=settings.workers,
                progress=bar,
                refresh=settings.refresh,
            )
            splits = {name: each.values for name, each in evaluations.items()}
            if not any(splits.values()):
                raise ValueError(f"suite {', '.join(suites)} needs masks of objects, but {data.name} has none")
            tables = {name: each.tables for name, each in evaluations.items()}
            found.append(_Found(str(path), data.name, settings.checkpoint, splits, tables, _profile(run, splits)))
    return found


def _profile(run: Run, splits: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    from looksharp.networks.profiling import accuracy_per_million, profile

    found = profile(run.model, run.pixels.size)
    accuracies = {name: values["top1"] for name, values in splits.items() if "top1" in values}
    per_million = {name: accuracy_per_million(top1, found.parameters) for name, top1 in accuracies.items()}
    return asdict(found) | {"accuracy_per_million": per_million}


def _test_cue(settings: Namespace) -> list[_Found]:
    from looksharp.evaluation.cue_test import cue_test
    from looksharp.training.folder import load_run

    if settings.without_cue is None or settings.cue_alone is None:
        raise ValueError("cue_class needs --without_cue FOLDER and --cue_alone FOLDER")
    found = []
    for path in settings.runs:
        run = load_run(path, settings.checkpoint, settings.device)
        values = cue_test(run, settings.cue_class, settings.without_cue, settings.cue_alone)
        found.append(_Found(str(path), str(settings.without_cue), settings.checkpoint, {settings.cue_class: values}))
    return found


def _read_facts(path: Path) -> dict[str, Any]:
    for name in ("config.yaml", "run.json"):
        if not (path / name).is_file():
            raise ValueError(f"{path} is not a run folder: it has no {name}")
    facts: dict[str, Any] = json.loads((path / "run.json").read_text(encoding="utf-8"))
    return facts


def _tables(found: Sequence[_Found]) -> str:
    """Of one run, a table whose columns are splits; of several, one for each split, whose columns are runs."""
    if len(found) == 1:
        tables = [_table("", found[0].splits)]
    else:
        names = [Path(each.run).name for each in found]
        if len(set(names)) < len(names):
            names = [each.run for each in found]
        tables = []
        for split in dict.fromkeys(split for each in found for split in each.splits):
            columns = {n: each.splits[split] for n, each in zip(names, found, strict=True) if split in each.splits}
            tables.append(_table(split, columns))
    costs = [
        f"{each.run}: {each.profile['parameters'] / 1e6:.3g} M parameters, "
        f"{each.profile['flops'] / 1e9:.3g} GFLOP and {each.profile['seconds_per_image'] * 1000:.3g} ms an image"
        for each in found
        if each.profile
    ]
    return "\n\n".join([*tables, *(["\n".join(costs)] if costs else [])])


def _table(corner: str, columns: Mapping[str, Mapping[str, float]]) -> str:
    """A metric a row; `columns` are heading -> metric -> value."""
    metrics = dict.fromkeys(metric for values in columns.values() for metric in values)
    rows = [[corner, *columns]]
    rows += [[m, *(f"{values[m]:.4f}" if m in values else "-" for values in columns.values())] for m in metrics]
    first, *widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(w) for cell, w in zip(row[1:], widths, strict=True))])
        for row in rows
    )
