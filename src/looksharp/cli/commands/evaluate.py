"""Measure runs: how well they classify, and where they look."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms
from looksharp.settings import settings

if TYPE_CHECKING:
    from looksharp.data.split import Data
    from looksharp.evaluation.tables import Tables
    from looksharp.training.folder import Run

__all__ = ["EvaluateSettings"]


@settings
class EvaluateSettings:
    """Settings of `looksharp evaluate`.

    Args:
        runs: run folders.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
        mechanism: mechanism that makes attention maps; listed below.
        smooth: average its maps over six mirrored and scaled copies of each image.
        fuse: average its maps of the last two stages into one.
        suite: suites to measure, or all. Results are kept in RUN/evaluation.
        refresh: measure again, even where RUN/evaluation holds results.
        data: data set to measure on, in place of the runs' own; see train.
        root: folder of its files.
        split: split to measure, in place of the test splits.
        images: number of images of each split to measure, evenly spread; all if not given.
        class_map: file that maps the classes of the data to the run's, where they are called otherwise; see train.
        layers: inner and last layer; found in the network if not given.
        crf: suite segmentation: also measure masks that a CRF has sharpened; --no_crf leaves that out.
        cue_class: in place of suites, test whether this class is recognised without its cue.
        without_cue: images of that class without its cue.
        cue_alone: images of the cue without that class.
        json: also write values, tables and costs to this file; a list if there are several runs.
        batch_size: images per forward; of several processes (torchrun), of each.
        workers: processes that read image files; of several processes, of each.
    """

    runs: list[Path]
    checkpoint: Literal["last", "best"] = "last"
    device: str = "auto"
    mechanism: str = "grad_cam"
    smooth: bool = False
    fuse: bool = False
    suite: tuple[str, ...] = ("classification", "attention")
    refresh: bool = False
    data: str | None = None
    root: Path | None = None
    split: str | None = None
    images: Annotated[int, Ge(1)] | None = None
    class_map: Path | None = None
    layers: list[str] | None = None
    crf: bool = True
    cue_class: str | None = None
    without_cue: Path | None = None
    cue_alone: Path | None = None
    json: Path | None = None
    batch_size: Annotated[int, Ge(1)] = 64
    workers: Annotated[int, Ge(0)] = 2


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.evaluation.suite import suite_costs

    costs = f"Suites, with their cost per image: {suite_costs()}. Suites of 1 forward share it."
    parser.description = f"{parser.description} {costs}"
    add_flags(parser, EvaluateSettings, positional=("runs",))
    list_mechanisms(parser, given)


def _run(flags: Namespace) -> None:
    from looksharp.evaluation.suite import check_suites
    from looksharp.processes.joining import joined
    from looksharp.processes.place import is_first
    from looksharp.training.folder import read_facts

    settings = call(EvaluateSettings, flags)
    check_suites(settings.suite)
    with joined():
        for path in settings.runs:  # before long work starts
            read_facts(path)
        found = _evaluate(settings) if settings.cue_class is None else _test_cue(settings, settings.cue_class)
        if is_first():
            _show(found, settings)


def _show(found: Sequence[_Found], settings: EvaluateSettings) -> None:
    """Print the results, and write them where a file is named."""
    from looksharp.files import write_text

    print(_tables(found))
    if settings.json is not None:
        facts = [vars(each) for each in found]
        text = json.dumps(facts[0] if len(facts) == 1 else facts, indent=2, ensure_ascii=False)
        write_text(settings.json, text + "\n")


@dataclass
class _Found:
    """Results of a run, as they are printed and written; see `Evaluation` for values and tables."""

    run: str
    data: str
    checkpoint: str
    splits: dict[str, dict[str, float]]  # split -> values
    tables: dict[str, Tables] = field(default_factory=dict)  # by split
    profile: dict[str, Any] = field(default_factory=dict)


def _evaluate(settings: EvaluateSettings) -> list[_Found]:
    from tqdm import tqdm

    from looksharp.attention.averaged import averaged
    from looksharp.attention.mechanisms import check_asked
    from looksharp.data.build import build_data
    from looksharp.evaluation import SUITES, evaluate_run
    from looksharp.evaluation.evaluate import check_layers
    from looksharp.evaluation.suite import check_suites, forwards
    from looksharp.processes.place import is_first
    from looksharp.training.data import fitted_data, map_said, moved_data
    from looksharp.training.folder import load_run, read_config, read_facts

    mechanism = averaged(settings.mechanism, smooth=settings.smooth, fuse=settings.fuse)
    check_asked(mechanism, layers=settings.layers is not None)
    check_layers(settings.layers)
    suites = check_suites(settings.suite)
    build = lru_cache(maxsize=1)(build_data)  # runs often share their images

    def data_of(path: Path) -> Data:
        config = read_config(path)
        moved = moved_data(config.data, settings.data, settings.root, settings.class_map)
        data = fitted_data(build(moved, config.training.seed), read_facts(path).classes)
        return data.testing(settings.split, settings.images)

    def images_of(path: Path) -> int:
        if not any((settings.data, settings.root, settings.split, settings.images)):
            counts = read_facts(path).images
            return sum(counts[name] for name in counts.keys() - {"train", "val"}) or counts.get("val", 0)
        return sum(map(len, data_of(settings.runs[0]).tests.values()))

    found, said = [], ""
    total = sum(map(images_of, settings.runs)) * forwards(suites)
    # Delayed, so that an error at the start stands by itself.
    with tqdm(total=total, unit=" forwards", unit_scale=True, leave=False, delay=1, disable=not is_first()) as bar:
        for path in settings.runs:
            bar.set_description(path.name, refresh=False)
            run, data = load_run(path, settings.checkpoint, settings.device), data_of(path)
            if (words := map_said(data, run.config.data)) != said and is_first():  # which runs often share
                print(said := words, end="", file=sys.stderr)
            evaluations = evaluate_run(
                run,
                data=data,
                checkpoint=settings.checkpoint,
                suites=suites,
                mechanism=mechanism,
                layers=settings.layers,
                crf=settings.crf,
                batch_size=settings.batch_size,
                workers=settings.workers,
                progress=bar,
                refresh=settings.refresh,
            )
            splits = {name: each.values for name, each in evaluations.items()}
            if not any(splits.values()):
                needs = " and ".join(dict.fromkeys(SUITES[name].needs for name in suites))
                raise ValueError(f"suite {', '.join(suites)} needs {needs}, but {data.name} has none")
            tables = {name: each.tables for name, each in evaluations.items()}
            found.append(_Found(str(path), data.name, settings.checkpoint, splits, tables, _profile(run, splits)))
    return found


def _profile(run: Run, splits: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    from looksharp.networks.profiling import accuracy_per_million, profile

    found = profile(run.model, run.pixels.size)
    accuracies = {name: values["top1"] for name, values in splits.items() if "top1" in values}
    per_million = {name: accuracy_per_million(top1, found.parameters) for name, top1 in accuracies.items()}
    return asdict(found) | {"accuracy_per_million": per_million}


def _test_cue(settings: EvaluateSettings, cue: str) -> list[_Found]:
    from looksharp.evaluation.cue_test import cue_test
    from looksharp.training.folder import load_run

    if settings.without_cue is None or settings.cue_alone is None:
        raise ValueError("cue_class needs --without_cue FOLDER and --cue_alone FOLDER")
    found = []
    for path in settings.runs:
        run = load_run(path, settings.checkpoint, settings.device)
        values = cue_test(run, cue, settings.without_cue, settings.cue_alone)
        found.append(_Found(str(path), str(settings.without_cue), settings.checkpoint, {cue: values}))
    return found


def _tables(found: Sequence[_Found]) -> str:
    """Lay out one run as a table with a column per split; several runs as a table per split with a column per run."""
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
    """Format a table with a row per metric; `columns` are heading -> metric -> value."""
    metrics = dict.fromkeys(metric for values in columns.values() for metric in values)
    rows = [[corner, *columns]]
    rows += [[m, *(f"{values[m]:.4f}" if m in values else "-" for values in columns.values())] for m in metrics]
    first, *widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(first), *(cell.rjust(w) for cell, w in zip(row[1:], widths, strict=True))])
        for row in rows
    )


COMMANDS.add(
    "evaluate",
    Command("Measure runs: how well they classify, and where they look.", _add_flags, _run, place=1),
)
