"""Choose the training images to mark."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms
from looksharp.settings import settings

__all__ = ["SuspectsSettings"]


@settings
class SuspectsSettings:
    """Run and images that `looksharp suspects` searches.

    Args:
        run: run folder.
        n: number of images to mark.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
        mechanism: how attention maps are made; listed below. If not given, gradient_rollout in a vision transformer
            whose layer is not named, else grad_cam.
        data: other images than the run's own; see train.
        root: folder of that set's files.
        class_map: file that maps the classes of the data to the run's, where they are called otherwise; see train.
        layer: layer to read; the last one if not given.
        tested: images of each group that interventions test: is the answer carried along with the piece?
        batch_size: images of one forward; of several processes (torchrun), of each.
        workers: processes that read image files; of several processes, of each.
        seed: seed of the clusters, and of the images looked at.
        out: folder for the sheet, the groups and the files; the same command goes on there after a kill.
    """

    run: Path
    n: int = 32
    checkpoint: Literal["last", "best"] = "last"
    device: str = "auto"
    mechanism: str | None = None
    data: str | None = None
    root: Path | None = None
    class_map: Path | None = None
    layer: str | None = None
    tested: Annotated[int, Ge(1)] = 32
    batch_size: Annotated[int, Ge(1)] = 64
    workers: Annotated[int, Ge(0)] = 2
    seed: Annotated[int, Ge(0)] = 0
    out: Path = Path("suspects")


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, SuspectsSettings, positional=("run",))
    list_mechanisms(parser, given)


def _run(flags: Namespace) -> None:
    from looksharp.attention.mechanisms import find_mechanism
    from looksharp.processes.joining import joined

    chosen = call(SuspectsSettings, flags)
    if chosen.mechanism is not None:
        find_mechanism(chosen.mechanism)
    with joined():
        _search(chosen)


def _search(chosen: SuspectsSettings) -> None:
    from looksharp.processes.place import is_first
    from looksharp.suspects import find_groups, suspects, write_suspects
    from looksharp.training.data import map_said, run_data
    from looksharp.training.folder import load_run

    run = load_run(chosen.run, chosen.checkpoint, chosen.device)
    data = run_data(run, chosen.data, chosen.root, chosen.class_map)
    print(map_said(data, run.config.data) if is_first() else "", end="", file=sys.stderr)
    found = suspects(
        run,
        data,
        chosen.n,
        mechanism=chosen.mechanism,
        layer=chosen.layer,
        batch_size=chosen.batch_size,
        workers=chosen.workers,
        seed=chosen.seed,
    )
    tested = find_groups(
        run,
        data,
        found,
        tested=chosen.tested,
        keep=chosen.out / "regions",
        batch_size=chosen.batch_size,
        workers=chosen.workers,
        seed=chosen.seed,
    )
    if is_first():
        print("\n".join(str(path) for path in write_suspects(found, data, chosen.out, run.pixels, tested)))


COMMANDS.add("suspects", Command("Find the training images that are worth marking.", _add_flags, _run, place=4))
