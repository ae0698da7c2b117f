"""Retrain a run with a few marked images, and prove that its shortcut is gone."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    from looksharp.curing.settings import CureSettings

    add_flags(parser, CureSettings, positional=("run",))


def _run(settings: Namespace) -> None:
    from looksharp.curing import retraining
    from looksharp.curing.settings import CureSettings

    found = retraining.cure_run(call(CureSettings, settings))
    print(found.verdict)
    if found.verdict.warning:
        print(f"looksharp: warning: {found.verdict.warning}", file=sys.stderr)
    print(f"Open {found.report} in a browser.")


COMMANDS.add(
    "cure",
    Command(
        "Retrain a run with a few marked images, and prove that its shortcut is gone.",
        _add_flags,
        _run,
        "the same command goes on where it stopped",
        place=5,
    ),
)
