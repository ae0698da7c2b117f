"""The `looksharp` command: flags come from signatures, and errors are one line."""

from __future__ import annotations

import difflib
import signal
import sys
import threading
from argparse import ArgumentError, ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import NoReturn

from looksharp.cli.command import COMMANDS
from looksharp.cli.memory import keep_memory
from looksharp.cli.sparing import spare_loading, without_collecting
from looksharp.cli.stand_ins import FOR_FLAGS, LIBRARIES, stand_ins
from looksharp.cli.waiting import choose_waiting

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status. Errors of the user's are one line on stderr."""
    given = [_with_underscores(argument) for argument in (sys.argv[1:] if arguments is None else arguments)]
    if not _asks_help(given):
        choose_waiting()
        keep_memory()
        spare_loading()
    try:
        return _run(given)
    except ArgumentError as error:
        asked = next((f"{name} " for name in given if name in COMMANDS), "")
        return _fail(f"{_one_line(error)}; see looksharp {asked}--help")
    except (ValueError, OSError) as error:
        return _fail(_one_line(error))


def _run(given: Sequence[str]) -> int:
    with without_collecting():
        settings = _parsed(given)
    command = COMMANDS[settings.command]
    del settings.command
    hint = f"; {command.after_interruption}" if command.after_interruption else ""
    try:
        with _ending_on_sigterm():
            command.run(settings)
    except KeyboardInterrupt:
        _say(f"interrupted{hint}")
        return 130
    except SystemExit as end:
        if end.code != _TERMINATED:
            raise
        _say(f"terminated{hint}")
        return _TERMINATED
    return 0


_TERMINATED = 128 + signal.SIGTERM


@contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """End on SIGTERM as on an exception, so that files half-written are removed and locks released."""
    if threading.current_thread() is not threading.main_thread():  # others get no signals
        yield
        return

    def end(*_: object) -> NoReturn:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _fail(text: str) -> int:
    _say(f"error: {text}")
    return 2


def _say(text: str) -> None:
    """Say why the command ends; of several processes that work together, the first to end says it for all."""
    joining = sys.modules.get("looksharp.processes.joining")  # not loaded by a process that works alone
    if joining is None or joining.speaks():
        print(f"looksharp: {text}", file=sys.stderr)


def _with_underscores(argument: str) -> str:
    """Turn --select-by into --select_by: flags may be written either way."""
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument[2:].partition("=")
    return f"--{flag.replace('-', '_')}{equals}{value}"


def _one_line(error: Exception) -> str:
    # An error of a worker process carries its traceback; what it says is the last line.
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    text = lines[-1] if "Traceback" in str(error) else " ".join(line.strip() for line in lines)
    return text.removeprefix("ValueError: ")


def _parsed(given: Sequence[str]) -> Namespace:
    """Parse the arguments; an unknown flag is named with one that is close."""
    parser, flags = _parser(given)
    settings, unknown = parser.parse_known_args(given)
    if unknown:
        name = unknown[0].partition("=")[0]
        close = difflib.get_close_matches(name, flags, n=1) if name.startswith("-") else []
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ArgumentError(None, f"{name!r} is not an argument of {settings.command}{hint}")
    return settings


def _asks_help(given: Sequence[str]) -> bool:
    return not {"-h", "--help"}.isdisjoint(given)


def _parser(given: Sequence[str]) -> tuple[ArgumentParser, list[str]]:
    """Build the parser; where only help is asked for, without loading torch."""
    if _asks_help(given) and "torch" not in sys.modules:
        libraries = LIBRARIES if any(not argument.startswith("-") for argument in given) else LIBRARIES | FOR_FLAGS
        with suppress(Exception), stand_ins(libraries):  # what cannot be read so is read with torch
            built: tuple[ArgumentParser, list[str]] = import_module("looksharp.cli.parser").build_parser(given)
            return built
    from looksharp.cli.parser import build_parser

    return build_parser(given)
