"""Find a shortcut, point at it, retrain, and show it, offline."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from looksharp.cli.command import COMMANDS, Command
from looksharp.cli.flags import add_flags, call

__all__ = ["show"]


def show(out: Path = Path("demo"), seed: Annotated[int, Ge(0)] = 0) -> None:
    """Run the demonstration and say where its page is.

    Args:
        out: folder for the page and the runs.
        seed: seed of everything drawn at random.
    """
    from looksharp.curing.demo import demo

    print(f"Open {demo(out, seed=seed)} in a browser.")


def _add_flags(parser: ArgumentParser, given: Sequence[str]) -> None:
    add_flags(parser, show)


def _run(settings: Namespace) -> None:
    call(show, settings)


COMMANDS.add(
    "demo",
    Command(
        "Find a shortcut, point at it, retrain, and show it, offline.",
        _add_flags,
        _run,
        "the same command goes on where it stopped",
        place=9,
    ),
)
