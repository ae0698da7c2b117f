"""Make seeds for segmentation from where a run looks."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.segmentation.settings import SeedSettings

    add_flags(parser, SeedSettings, positional=("run",))
    list_mechanisms(parser, given)


def _run(flags: Namespace) -> None:
    from looksharp.segmentation.seeds import make_seeds
    from looksharp.segmentation.settings import SeedSettings

    settings = call(SeedSettings, flags)
    print(make_seeds(settings))
    print(settings.out / "masks")


COMMANDS.add(
    "seeds",
    Command(
        "Make seeds for segmentation from where a run looks: images of class indices.",
        _add_flags,
        _run,
        "the same command goes on where it stopped",
        place=9,
    ),
)
