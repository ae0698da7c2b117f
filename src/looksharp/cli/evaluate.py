"""Measure a run: how well it classifies, and where it looks."""

from __future__ import annotations

import json
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from looksharp.cli.options import add_model_arguments, add_run_argument

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    add_run_argument(parser)
    add_model_arguments(parser)
    parser.add_argument("--data", type=str, default=None, help="Other images than the run's own; see train.")
    parser.add_argument("--root", type=Path, default=None, help="Folder of that set's files.")
    parser.add_argument(
        "--layers", type=list[str], default=None, help="The inner layer and the last; found if not given."
    )
    parser.add_argument("--cue_class", default=None, help="Instead: does this class survive without its cue?")
    parser.add_argument("--without_cue", type=Path, default=None, help="Images of that class without its cue.")
    parser.add_argument("--cue_alone", type=Path, default=None, help="Images of the cue without that class.")
    parser.add_argument("--json", type=Path, default=None, help="Also write the values to this file.")
    parser.add_argument("--batch_size", type=int, default=64, help="Images a forward.")
    parser.add_argument("--workers", type=int, default=2, help="Processes that read image files.")


def run(settings: Namespace) -> None:
    from dataclasses import replace

    from looksharp.cue_test import cue_test
    from looksharp.data.build import build_data
    from looksharp.evaluation import evaluate
    from looksharp.mechanisms import find_mechanism
    from looksharp.training.folder import load_run

    mechanism = find_mechanism(settings.mechanism)
    run = load_run(settings.run, settings.checkpoint, settings.device)
    if settings.cue_class is not None:
        if settings.without_cue is None or settings.cue_alone is None:
            raise ValueError("cue_class needs --without_cue FOLDER and --cue_alone FOLDER")
        found = cue_test(run, settings.cue_class, settings.without_cue, settings.cue_alone)
        _report(settings, str(settings.without_cue), {settings.cue_class: found})
        return
    config = run.config.data
    config = replace(config, data=settings.data or config.data, root=settings.root or config.root)
    data = build_data(config, run.config.training.seed)
    if data.classes != run.classes:
        raise ValueError(
            f"data {data.name} has other classes than the run: {len(data.classes)}, first {data.classes[0]!r}, "
            f"and not {len(run.classes)}, first {run.classes[0]!r}"
        )
    results = {
        name: evaluate(
            run.model,
            split,
            run.pixels,
            mechanism=mechanism,
            layers=settings.layers,
            batch_size=settings.batch_size,
            workers=settings.workers,
            progress=name,
        )
        for name, split in data.tests.items()
    }
    _report(settings, data.name, results)


def _report(settings: Namespace, data: str, results: dict[str, dict[str, float]]) -> None:
    from looksharp.files import write_text

    print(_table(results))
    if settings.json is not None:
        facts = {"run": str(settings.run), "data": data, "checkpoint": settings.checkpoint, "splits": results}
        write_text(settings.json, json.dumps(facts, indent=2) + "\n")


def _table(results: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for values in results.values() for name in values))
    rows = [["", *names]]
    rows += [[split, *(f"{v[n]:.4f}" if n in v else "-" for n in names)] for split, v in results.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
