"""The `looksharp` command: one module per command; flags are read off signatures and docstrings."""

from __future__ import annotations

import sys
from argparse import ArgumentError
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from types import ModuleType

from jsonargparse import ArgumentParser

__all__ = ["main"]

_COMMANDS = {
    "train": "Train a classifier into a run folder.",
    "evaluate": "Measure a run: how well it classifies, and where it looks.",
    "explain": "Draw where a run looks on images, class by class.",
    "compare": "Compare runs over seeds: what differs, whether it is significant, how it looks.",
    "suspects": "Choose the training images to mark, so that guidance cures best.",
    "cure": "Retrain a run with a few marked images, and prove that its shortcut is gone.",
    "profile": "Print what networks cost: parameters, operations and time, beside their backbones.",
    "compose": "Paint objects over photographs whose kind follows the class.",
    "reproduce": "Reproduce a table of the papers: list, train, and set paper against measured.",
    "demo": "Find a shortcut, mark a few images, retrain, and show it, offline.",
}
"""Each command's summary; the module of its name holds `add_arguments(parser)` and `run(settings)`."""

_AFTER_INTERRUPTION = {
    "train": "; continue with --resume and the same --out",
    "cure": "; the same command goes on where it stopped",
    "reproduce": "; the same command goes on where it stopped",
    "demo": "; the same command goes on where it stopped",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors of the user's are one line on stderr."""
    given = [_with_underscores(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    try:
        settings = _parser(given).parse_args(given)
    except ArgumentError as error:
        asked = next((f"{name} " for name in given if name in _COMMANDS), "")
        print(f"looksharp: error: {_one_line(error)}; see looksharp {asked}--help", file=sys.stderr)
        return 2
    name = settings.command
    try:
        _module(name).run(settings[name])
    except KeyboardInterrupt:
        print(f"looksharp: interrupted{_AFTER_INTERRUPTION.get(name, '')}", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"looksharp: error: {_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _with_underscores(argument: str) -> str:
    """--select-by as --select_by: flags may be written either way."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument[2:].partition("=")
    return f"--{flag.replace('-', '_')}{equals}{value}"


def _one_line(error: Exception) -> str:
    # An error of a worker process carries its traceback; what it says is the last line.
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[-1] if "Traceback" in str(error) else " ".join(line.strip() for line in lines)
    return text.removeprefix("ValueError: ")


def _parser(given: Sequence[str]) -> ArgumentParser:
    """The parser, with the flags of the command that is asked for: others would load what they do not need."""
    parser = ArgumentParser(
        prog="looksharp",
        description="Train image classifiers that look at the right place; show and measure where they look.",
        version=version("looksharp"),
        exit_on_error=False,  # errors are printed in one line, without the usage of all flags
    )
    subcommands = parser.add_subcommands(required=True, dest="command")
    for name, summary in _COMMANDS.items():
        subparser = ArgumentParser(description=summary)
        if name in given:
            _module(name).add_arguments(subparser)
        subcommands.add_subcommand(name, subparser, help=summary)
    return parser


def _module(name: str) -> ModuleType:
    return import_module(f"looksharp.cli.{name}")
