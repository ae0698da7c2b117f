"""Rank attention mechanisms on a run's network."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms
from looksharp.ruler.settings import RulerSettings
from looksharp.settings import settings

__all__ = ["MechanismsSettings"]


@settings
class MechanismsSettings:
    """Run and images by which `looksharp mechanisms` judges.

    Args:
        run: run folder.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
        data: other images than the run's own; see train.
        root: folder of that set's files.
        class_map: file that maps the classes of the data to the run's, where they are called otherwise; see train.
        out: folder for the page, the tables and what was measured; RUN/mechanisms if not given.
    """

    run: Path
    checkpoint: Literal["last", "best"] = "last"
    device: str = "auto"
    data: str | None = None
    root: Path | None = None
    class_map: Path | None = None
    out: Path | None = None


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, MechanismsSettings, positional=("run",))
    add_flags(parser, RulerSettings)
    list_mechanisms(parser, given, "only")


def _run(flags: Namespace) -> None:
    from looksharp.ruler.rank import rank_mechanisms
    from looksharp.training.data import map_said, run_data
    from looksharp.training.folder import load_run

    chosen, asked = call(MechanismsSettings, flags), call(RulerSettings, flags)
    run = load_run(chosen.run, chosen.checkpoint, chosen.device)
    out = chosen.run / "mechanisms" if chosen.out is None else chosen.out
    data = run_data(run, chosen.data, chosen.root, chosen.class_map)
    print(map_said(data, run.config.data), end="", file=sys.stderr)
    ranking = rank_mechanisms(run, data, asked, out=out)
    print(f"{ranking.advice}\n{ranking.reason}")
    print("\n".join(str(out / name) for name in ("index.html", "mechanisms.json", "mechanisms.csv")))


COMMANDS.add(
    "mechanisms",
    Command(
        "Rank mechanisms on a run's network: which map to trust, and at what cost.",
        _add_flags,
        _run,
        after_interruption="the mechanisms that were done are kept; the same command goes on with the next",
        place=2,
    ),
)
