"""Commands, and the registry in which each registers itself."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from looksharp.registry import Registry

__all__ = ["COMMANDS", "Command"]


@dataclass(frozen=True)
class Command:
    """A command of `looksharp`.

    Attributes:
        summary: one sentence for `looksharp --help`.
        add_flags: adds flags to the command's parser; it also gets all arguments, since flags may depend on them.
        run: does the work with the parsed flags. It raises ValueError or OSError for errors that the user can mend.
        after_interruption: advice after Ctrl-C on how to go on.
        place: order in `looksharp --help`; plugins' commands come last.
    """

    summary: str
    add_flags: Callable[[ArgumentParser, Sequence[str]], None]
    run: Callable[[Namespace], None]
    after_interruption: str = ""
    place: int = 100


COMMANDS: Registry[Command] = Registry("command", "looksharp.cli.commands")
"""Every command by its name."""
