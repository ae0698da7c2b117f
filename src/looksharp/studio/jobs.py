"""Trainings of a studio: a queue of looksharp commands, each in a process of its own that outlives the page."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from looksharp.files import write_text
from looksharp.studio.worker import COMMAND, STATE, TERMINATED, is_alive, read_facts_of

__all__ = ["Job", "JobStatus", "Jobs"]

JobStatus = Literal["waiting", "running", "finished", "failed", "cancelled", "interrupted"]
_WORKER = (sys.executable, "-P", "-m", "looksharp.studio.worker")
_LOADING = 30.0  # seconds until a process that another page started has its folder, at most
_TAIL = 20_000  # bytes of a log that are read


@dataclass(frozen=True)
class Job:
    """One command of the queue.

    Attributes:
        number: from 1, in the order in which jobs were added.
        folder: its folder, which holds its command, its log and how far it is.
        title: its name on the page.
        arguments: of the command `looksharp`.
        status: waiting for its turn, running, finished, failed, cancelled, or interrupted (its process was killed).
        started: time (s since 1970) at which it began to run last; None before.
        ended: time at which it ended; None before, or where it was killed.
    """

    number: int
    folder: Path
    title: str
    arguments: tuple[str, ...] = field(repr=False)
    status: JobStatus
    started: float | None = None
    ended: float | None = None

    @property
    def is_open(self) -> bool:
        """Return whether it waits or runs."""
        return self.status in ("waiting", "running")

    @property
    def log(self) -> str:
        """Return the end of what the command has said; of a progress bar its last state."""
        try:
            with (self.folder / "log").open("rb") as file:
                file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
                said = file.read().decode("utf-8", errors="replace")
        except OSError:
            return ""
        lines = (line.rstrip("\r").rpartition("\r")[2].rstrip() for line in said.split("\n"))
        return "\n".join(line for line in lines if line)


class Jobs:
    """A queue of commands, of which one runs at a time.

    It is kept in files alone: each job has a folder and a process that waits for its turn by itself. So the queue goes
    on when the page's process ends, and another one finds it as it is.

    Args:
        folder: folder of the jobs' folders.
        worker: command that does a job, given its folder; see `looksharp.studio.worker`.
    """

    def __init__(self, folder: Path, worker: Sequence[str] = _WORKER) -> None:
        self.folder, self._worker = folder, tuple(worker)
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._leaving: list[subprocess.Popen[bytes]] = []  # have said that they end
        self._told: set[int] = set()  # jobs that were asked to end

    def add(self, title: str, plan: Callable[[Path], Sequence[str]]) -> Job:
        """Add a job to the end of the queue.

        Args:
            title: its name on the page.
            plan: takes the job's folder, where it may keep what the command reads; returns the command's arguments.

        Raises:
            ValueError: as `plan`; no job is left then.
        """
        number = max(self._numbers(), default=0) + 1
        while True:
            folder = self.folder / str(number)
            try:
                folder.mkdir(parents=True)
                break
            except FileExistsError:  # of another page's process
                number += 1
        try:
            arguments = [str(each) for each in plan(folder)]
        except Exception:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
            raise
        content = {"title": title, "arguments": arguments, "cwd": str(Path.cwd()), "added": time.time()}
        write_text(folder / COMMAND, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
        self._start(number)
        return self[number]

    def __getitem__(self, number: int) -> Job:
        """Return a job as it is now.

        Raises:
            ValueError: if there is none of that number.
        """
        folder = self.folder / str(number)
        command, state = read_facts_of(folder / COMMAND), read_facts_of(folder / STATE)
        if not command:
            raise ValueError(f"there is no job {number}")
        started, ended = state.get("started"), state.get("ended")
        return Job(
            number,
            folder,
            str(command.get("title", "")),
            tuple(map(str, command.get("arguments", ()))),
            self._status(number, folder, state),
            float(started) if started is not None else None,
            float(ended) if ended is not None else None,
        )

    def all(self) -> list[Job]:
        """Return all jobs, the oldest first."""
        return [self[number] for number in sorted(self._numbers()) if (self.folder / str(number) / COMMAND).exists()]

    def cancel(self, number: int) -> None:
        """End a job that waits or runs; what it has done stays. A second call kills a process that does not end."""
        folder, state = self[number].folder, read_facts_of(self.folder / str(number) / STATE)
        process = self._processes.get(number)
        if is_alive(folder) and isinstance(state.get("pid"), int):
            if number in self._told:
                os.killpg(state["pid"], signal.SIGKILL)
            else:
                os.kill(state["pid"], signal.SIGTERM)
        elif process is not None and process.poll() is None:  # it has hardly begun
            process.terminate()
        self._told.add(number)

    def resume(self, number: int) -> None:
        """Put a job that ended before it finished at the end of the queue; the command goes on where it stopped.

        Raises:
            ValueError: if it has finished, or waits or runs already.
        """
        job = self[number]
        if job.is_open or job.status == "finished":
            raise ValueError(f"job {number} is {job.status}: only one that ended before can be resumed")
        self._start(number)

    def _status(self, number: int, folder: Path, state: dict[str, object]) -> JobStatus:
        process, asked = self._processes.get(number), state.get("asked")
        begins = process.poll() is None if process is not None else _is_recent(asked)
        begins = begins and asked is not None
        if "ended" in state:
            return _end(state)
        if is_alive(folder) or begins:
            return "running" if "started" in state else "waiting"
        return "cancelled" if number in self._told else "interrupted"

    def _start(self, number: int) -> None:
        """Start the process that waits for the job's turn, in a session that no signal to this process reaches."""
        folder = self.folder / str(number)
        self._told.discard(number)
        write_text(folder / STATE, json.dumps({"asked": time.time()}) + "\n")
        before = [each for each in (self._processes.get(number),) if each is not None]
        self._leaving = [each for each in (*self._leaving, *before) if each.poll() is None]
        where = Path(str(read_facts_of(folder / COMMAND).get("cwd", ".")))
        with (folder / "log").open("ab") as log:
            self._processes[number] = subprocess.Popen(
                [*self._worker, str(folder.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=where if where.is_dir() else None,
                start_new_session=True,
            )

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return [int(each.name) for each in self.folder.iterdir() if each.name.isdecimal() and each.is_dir()]


def _is_recent(asked: object) -> bool:
    """Return whether a process that was asked for may still be loading."""
    return isinstance(asked, float) and time.time() - asked < _LOADING


def _end(state: dict[str, object]) -> JobStatus:
    match state.get("status"):
        case 0:
            return "finished"
        case status if status == TERMINATED:
            return "cancelled"
    return "failed"
