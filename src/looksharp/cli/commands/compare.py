"""Compare runs over seeds: what differs, whether it is significant, and what it looks like."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call
from looksharp.cli.listing import list_mechanisms


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.comparison.settings import CompareSettings

    add_flags(parser, CompareSettings, positional=("runs",))
    list_mechanisms(parser, given)


def _run(settings: Namespace) -> None:
    from looksharp.comparison.compare import compare_runs
    from looksharp.comparison.settings import CompareSettings

    print(f"Open {compare_runs(call(CompareSettings, settings))} in a browser.")


COMMANDS.add(
    "compare",
    Command("Compare runs over seeds: differences, significance and pictures.", _add_flags, _run, place=3),
)
