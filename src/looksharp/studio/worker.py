"""The process of one job: it waits for its turn, runs one looksharp command, and writes how that ended."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock

from looksharp.files import locked, was_killed, write_text

__all__ = ["COMMAND", "STATE", "TERMINATED", "is_alive", "read_facts_of", "work"]

COMMAND, STATE = "command.json", "state.json"
"""Files of a job: its command, written once by whoever asks for it, and its state, written by its own process."""
TERMINATED = 128 + signal.SIGTERM
_ALLOWED = ("cure", "suspects", "train")
"""Commands of a job. A run folder may come from elsewhere, so that its files must not name anything else to run."""
_TURN = ".turn"
_LOCK = ".lock"  # as `looksharp.files.locked` names it
_PAUSE = 0.3  # seconds between two looks at the queue
_TRIES = 4


def work(folder: Path, act: Callable[[Sequence[str]], int]) -> int:
    """Run the command of a job when no other job of the same queue runs and none waits for longer.

    The folder is locked while this process lives, by which others see that it does, however it ends.

    Args:
        folder: the job's folder, which holds command.json.
        act: takes the command's arguments, returns the exit status.

    Raises:
        ValueError: if the folder holds no job, or another process works on it.
    """
    command = read_facts_of(folder / COMMAND)
    arguments = [str(each) for each in command.get("arguments", ())]
    if not arguments or arguments[0] not in _ALLOWED:
        raise ValueError(f"{folder / COMMAND} must name one of the commands {', '.join(_ALLOWED)}; got {arguments[:1]}")
    with _held(folder):
        state: dict[str, Any] = {"pid": os.getpid(), "waiting": time.time()}
        status = 1
        try:
            signal.signal(signal.SIGTERM, _end)
            _write(folder, state)
            while not _takes_turn(folder, state):
                time.sleep(_PAUSE)
            status = act(arguments)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        finally:
            _write(folder, state | {"ended": time.time(), "status": status})
    return status


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Lock the folder; that another process looks whether it is locked may get in the way for a moment."""
    with ExitStack() as stack:
        for left in reversed(range(_TRIES)):
            try:
                stack.enter_context(locked(folder))
                break
            except ValueError:
                if not left:
                    raise
                time.sleep(_PAUSE)
        yield


def is_alive(folder: Path) -> bool:
    """Return whether a job's process holds its folder."""
    return (folder / _LOCK).exists() and not was_killed(folder)


def read_facts_of(path: Path) -> dict[str, Any]:
    """Read command.json or state.json; nothing where it is missing or damaged."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _takes_turn(folder: Path, state: dict[str, Any]) -> bool:
    """Start if it is this job's turn, and say whether it is."""
    with FileLock(folder.parent / _TURN):
        for other in folder.parent.iterdir():
            if other == folder or not other.is_dir() or not is_alive(other):
                continue
            theirs = read_facts_of(other / STATE)
            if "ended" not in theirs and ("started" in theirs or _before(theirs, other, state, folder)):
                return False
        state["started"] = time.time()
        _write(folder, state)
        return True


def _before(theirs: dict[str, Any], other: Path, state: dict[str, Any], folder: Path) -> bool:
    """Return whether another job has waited for longer."""
    waiting = theirs.get("waiting")
    return isinstance(waiting, float) and (waiting, other.name) < (state["waiting"], folder.name)


def _write(folder: Path, state: dict[str, Any]) -> None:
    write_text(folder / STATE, json.dumps(state) + "\n")


def _end(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def _run(arguments: Sequence[str]) -> int:
    """Run the command as it is installed."""
    (command,) = entry_points(group="console_scripts", name="looksharp")
    return int(command.load()(arguments))


if __name__ == "__main__":
    with suppress(AttributeError):
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        sys.exit(work(Path(sys.argv[1]), _run))
    except ValueError as error:
        sys.exit(f"looksharp: error: {error}")
