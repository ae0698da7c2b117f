"""What the benchmarks that train have in common: their flags, and a study whose progress is printed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from looksharp.data.split import Data
from looksharp.experiments.record import Values
from looksharp.experiments.study import conduct
from looksharp.experiments.table import Table
from looksharp.experiments.trial import Trial
from looksharp.files import write_text
from looksharp.training.folder import Run

__all__ = ["add_study_flags", "printed_study"]


def add_study_flags(parser: argparse.ArgumentParser, out: Path, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> None:
    """Add --seeds, --threads, --device and --out."""
    parser.add_argument("--seeds", type=int, nargs="+", default=list(seeds))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=out)


def printed_study(
    trials: Sequence[Trial],
    data: Callable[[Trial], Data],
    measure: Callable[[Trial, Run, Data], Values],
    options: argparse.Namespace,
) -> Table:
    """Conduct a study with --threads, print every record as it comes, and leave measured.csv beside their folders."""
    torch.set_num_threads(options.threads)
    records = []
    for record in conduct(trials, data, measure, record_diverged=True, progress=False):
        values = {name: round(value, 3) for name, value in record.values.items()}
        print(record.variant, f"seed {record.seed}:", record.diverged or values, f"{record.seconds:.0f} s", flush=True)
        records.append(record)
    table = Table(tuple(records))
    write_text(trials[0].folder.parent.parent / "measured.csv", table.csv())
    return table
