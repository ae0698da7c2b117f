"""The parser of the `looksharp` command, with the flags of the command that is asked for."""

from __future__ import annotations

from argparse import ArgumentError, ArgumentParser
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

from looksharp.cli.command import COMMANDS
from looksharp.cli.listing import LineFormatter

__all__ = ["build_parser"]


class _Parser(ArgumentParser):
    """A parser that raises instead of ending the process, and takes no abbreviated flags."""

    def error(self, message: str) -> NoReturn:
        raise ArgumentError(None, message)


def build_parser(given: Sequence[str]) -> tuple[ArgumentParser, list[str]]:
    """Build the parser, with the flags of the command that is asked for: others would load what they do not need."""
    parser = _Parser(
        prog="looksharp",
        description="Train image classifiers that look at the right place; show and measure where they look.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"looksharp {version('looksharp')}")
    subparsers = parser.add_subparsers(required=True, dest="command", metavar="COMMAND", title="commands")
    asked = next((argument for argument in given if not argument.startswith("-")), None)
    flags: list[str] = []
    for name, command in sorted(COMMANDS.items(), key=lambda item: item[1].place):
        sub = subparsers.add_parser(
            name,
            help=command.summary,
            description=command.summary,
            allow_abbrev=False,
            formatter_class=LineFormatter,
        )
        if name == asked:
            command.add_flags(sub, given)
            flags = [flag for action in sub._actions for flag in action.option_strings]
    return parser, flags
