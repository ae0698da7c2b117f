"""A command, and the registry in which each registers itself."""

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
        add_flags: adds flags to the command's parser; it is also told all arguments, since flags may depend on others.
        run: does the work with the parsed flags. It raises ValueError or OSError for what the user can mend.
        after_interruption: how to go on after Ctrl-C.
        place: order in `looksharp --help`; other people's commands come last.
    """

    summary: str
    add_flags: Callable[[ArgumentParser, Sequence[str]], None]
    run: Callable[[Namespace], None]
    after_interruption: str = ""
    place: int = 100


COMMANDS: Registry[Command] = Registry("command", "looksharp.cli.commands")
"""Every command by its name."""
