"""Find, mark, retrain and prove in one local page."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.studio.settings import StudioSettings

    add_flags(parser, StudioSettings, positional=("run",))


def _run(settings: Namespace) -> None:
    from looksharp.studio.server import serve
    from looksharp.studio.settings import StudioSettings

    serve(call(StudioSettings, settings))


COMMANDS.add(
    "studio",
    Command(
        "Find, mark, retrain and prove in one local page.",
        _add_flags,
        _run,
        "marks, ticks and trainings are kept; the same command goes on",
        place=6,
    ),
)
