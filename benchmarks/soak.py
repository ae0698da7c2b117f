"""Kill commands at random moments, start them again, and compare what they leave with an uninterrupted run's bytes.

Each of train, cure, evaluate, suspects and explain is run to its end twice, which must agree, and then killed (SIGKILL)
again and again on a fresh folder, at a moment drawn evenly over its time, and started once more with the same arguments
(`train` with --resume where there is a run already). The temporary folder of half of the kills lies on the same file
system as the results, that of the others on a tmpfs of its own. Seconds that were measured are left out of the
comparison; of checkpoints the weights, the optimiser's state and the epoch are compared.

Example: python -m benchmarks.soak --kills 100 --seed 0 --out soak
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from looksharp.training.state import read_checkpoint

_PROCESSES = multiprocessing.get_context("forkserver")  # so that no command waits for its imports
_PRELOADED = ("training.run", "curing.retraining", "curing.page", "evaluation.run", "suspects", "explaining.explain")

_FEW = (
    "--biased_digits.train 96 --biased_digits.val 48 --biased_digits.test 48 --batch_size 16 --workers 0 --device cpu"
)


@dataclass(frozen=True)
class Task:
    """A command to kill.

    Attributes:
        arguments: of `looksharp`, run in a folder that holds a trained `run` (but for train) and `image.png`.
        results: what it writes there.
    """

    arguments: str
    results: tuple[str, ...]

    @property
    def name(self) -> str:
        """The command's name."""
        return self.arguments.split()[0]


TASKS = (
    Task(f"train --data biased_digits {_FEW} --epochs 4 --out run", ("run",)),
    Task("cure run --marks data --device cpu --epochs 2 --marked_per_batch 4 --out cured", ("cured",)),
    Task("evaluate run --device cpu --workers 0 --batch_size 8", ("run",)),
    Task("suspects run --device cpu --workers 0 -n 24 --out suspects", ("suspects",)),
    Task("explain run image.png --device cpu --out explained", ("explained",)),
)


@dataclass(frozen=True)
class Kill:
    """One kill and what came of it.

    Attributes:
        command: its name.
        systems: "one" or "two" file systems.
        moment: seconds after the start.
        begun: whether something of the results was there.
        writing: whether a file was half-written.
        outcome: "same bytes", or what was wrong.
    """

    command: str
    systems: str
    moment: float
    begun: bool
    writing: bool
    outcome: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="number of kills, dealt out evenly. (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments. (default: 0)")
    parser.add_argument("--out", type=Path, default=Path("soak"), help="new folder for all files. (default: soak)")
    parser.add_argument("--only", nargs="+", choices=[task.name for task in TASKS], help="kill these commands alone.")
    options = parser.parse_args()
    if options.kills < 1:
        parser.error(f"--kills must be at least 1; got {options.kills}")
    if options.out.exists():
        parser.error(f"--out {options.out} exists; choose another folder")
    chosen = [task for task in TASKS if options.only is None or task.name in options.only]
    out = options.out.resolve()
    out.mkdir(parents=True)
    with _other_file_system(out) as elsewhere:
        kills = _soak(chosen, options.kills, random.Random(options.seed), out, elsewhere)
    print(_table(kills))
    sys.exit(any(kill.outcome != "same bytes" for kill in kills))


def _soak(tasks: Sequence[Task], count: int, drawn: random.Random, out: Path, elsewhere: Path) -> list[Kill]:
    """Kill, start again and compare; every kill is also a row of kills.csv."""
    _PROCESSES.set_forkserver_preload([f"looksharp.{name}" for name in _PRELOADED])
    base = _trained(out / "base")
    expected = {task.name: _uninterrupted(task, base, out) for task in tasks}
    temporary = {"one": out / "tmp", "two": elsewhere / "tmp"}
    pairs = itertools.cycle([(task, systems) for systems in temporary for task in tasks])
    kills: list[Kill] = []
    with (out / "kills.csv").open("w", newline="") as file, tqdm(total=count, unit="kill", desc="soak") as bar:
        rows = csv.writer(file)
        rows.writerow(Kill.__dataclass_fields__)
        for task, systems in itertools.islice(pairs, count):
            found, seconds = expected[task.name]
            kill = _killed(task, systems, base, out / "work", temporary[systems], found, seconds, drawn)
            if kill.outcome != "same bytes":
                shutil.copytree(out / "work", out / "wrong" / f"{len(kills)}-{task.name}")
            kills.append(kill)
            rows.writerow(vars(kill).values())
            file.flush()
            bar.update()
            bar.set_postfix(wrong=sum(each.outcome != "same bytes" for each in kills))
    return kills


def _trained(base: Path) -> Path:
    """Make the folder that commands start from: a trained run and an image."""
    base.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(base / "image.png")
    _to_the_end(TASKS[0].arguments, base, base.parent / "tmp")
    return base


def _uninterrupted(task: Task, base: Path, out: Path) -> tuple[dict[str, str], float]:
    """What a command leaves that is not killed, the same twice, and its seconds."""
    found, seconds = [], 0.0
    for _ in range(2):
        work = _fresh(task, base, out / "work")
        started = time.perf_counter()
        _to_the_end(task.arguments, work, out / "tmp")
        seconds = time.perf_counter() - started
        found.append(_results(task, work))
    if found[0] != found[1]:
        raise SystemExit(f"{task.name}: two uninterrupted runs differ in {_differing(*found)}")
    return found[0], seconds


def _killed(
    task: Task,
    systems: str,
    base: Path,
    work: Path,
    temporary: Path,
    expected: Mapping[str, str],
    seconds: float,
    drawn: random.Random,
) -> Kill:
    """Kill a command once, start it again, and compare."""
    while True:
        before = _names(task, _fresh(task, base, work))
        moment = drawn.uniform(0, seconds)
        if _kill_after(moment, _start(task.arguments, work, temporary)):
            break
        # It was faster this time: another moment.
    written = _names(task, work) - before
    writing = any(".part-" in name for name in written)
    resumed = task.name == "train" and (work / "run" / "config.yaml").is_file()
    again = _start(f"{task.arguments} --resume" if resumed else task.arguments, work, temporary)
    again.join()
    if again.exitcode:
        outcome = f"refused: {(work / 'log.txt').read_text().splitlines()[-1]}"
    elif left := _left(task, work, temporary):
        outcome = f"left over: {', '.join(left)}"
    else:
        differing = _differing(expected, _results(task, work))
        outcome = f"other bytes: {differing}" if differing else "same bytes"
    shutil.rmtree(temporary)
    return Kill(task.name, systems, round(moment, 3), bool(written), writing, outcome)


def _names(task: Task, work: Path) -> set[str]:
    return {str(path) for folder in task.results for path in (work / folder).rglob("*")}


def _kill_after(moment: float, process: Any) -> bool:
    """Kill a process; False if it ended before."""
    process.join(moment)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def _fresh(task: Task, base: Path, work: Path) -> Path:
    """Make the folder anew in which a command runs; always at the same path, which some files hold."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work, ignore=shutil.ignore_patterns("run") if task.name == "train" else None)
    return work


def _start(arguments: str, folder: Path, temporary: Path) -> Any:
    temporary.mkdir(parents=True, exist_ok=True)
    process = _PROCESSES.Process(target=_run, args=(arguments.split(), str(folder), str(temporary)))
    process.start()
    return process


def _run(arguments: list[str], folder: str, temporary: str) -> None:
    """Run a command in a process of its own."""
    from looksharp.cli import main as command

    os.chdir(folder)
    os.environ["TMPDIR"] = temporary
    tempfile.tempdir = None  # else the parent's
    torch.set_num_threads(1)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.exit(command(arguments))


def _to_the_end(arguments: str, folder: Path, temporary: Path) -> None:
    process = _start(arguments, folder, temporary)
    process.join()
    if process.exitcode:
        raise SystemExit((folder / "log.txt").read_text())


def _left(task: Task, work: Path, temporary: Path) -> list[str]:
    """What a finished command should not leave: hidden files beside its results, anything in the temporary folder."""
    hidden = [path for folder in task.results for path in (work / folder).rglob(".*")]
    return sorted(str(path.relative_to(work)) for path in hidden) + sorted(path.name for path in temporary.iterdir())


def _results(task: Task, work: Path) -> dict[str, str]:
    """Every file that a command wrote -> the digest of what does not depend on the time it took."""
    return {
        path.relative_to(work).as_posix(): _digest(path)
        for folder in task.results
        for path in sorted((work / folder).rglob("*"))
        if path.is_file()
    }


def _digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".ckpt":
        read_checkpoint(path)
        content = _checkpoint_bytes(path)
    elif path.name == "metrics.csv":
        rows = list(csv.DictReader(content.decode().splitlines()))
        content = json.dumps(
            [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
        ).encode()
    elif path.suffix == ".json":
        content = re.sub(rb'"seconds": [^,}\n]*', b"", content)
    elif path.suffix == ".html":
        content = re.sub(r"[\d.,]+ (s|min)\b(, × [\d.,]+)?", "", content.decode()).encode()
    return hashlib.sha256(content).hexdigest()


def _checkpoint_bytes(path: Path) -> bytes:
    """What training goes on from, as bytes."""
    held = torch.load(path, weights_only=True)
    parts = (held["state_dict"], held["optimizer_states"], held["lr_schedulers"], held["epoch"], held["global_step"])
    return b"".join(_plain(parts))


def _plain(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        yield value.numpy().tobytes()
    elif isinstance(value, Mapping):
        for key, held in value.items():
            yield str(key).encode()
            yield from _plain(held)
    elif isinstance(value, list | tuple):
        for held in value:
            yield from _plain(held)
    else:
        yield repr(value).encode()


def _differing(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Names of the files that are not the same."""
    return ", ".join(name for name in sorted({*expected, *found}) if expected.get(name) != found.get(name))


@contextmanager
def _other_file_system(out: Path) -> Iterator[Path]:
    """A folder on a tmpfs: one that is mounted here where that is allowed, else one in /dev/shm."""
    mounted = out / "tmpfs"
    mounted.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(mounted)], capture_output=True, check=False)
    if done.returncode == 0:
        try:
            yield mounted
        finally:
            subprocess.run(["umount", "--lazy", str(mounted)], check=True)
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if Path(folder).stat().st_dev == out.stat().st_dev:
            raise SystemExit(f"{out} lies on /dev/shm itself: choose another --out")
        yield Path(folder)


def _table(kills: Sequence[Kill]) -> str:
    lines = [
        "| command | file systems | kills | with results begun | amid a write | same bytes | refused | left over |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task, systems in itertools.product(TASKS, ("one", "two")):
        own = [kill for kill in kills if (kill.command, kill.systems) == (task.name, systems)]
        if own:
            lines.append(_row(f"`{task.name}` | {systems}", own))
    return "\n".join([*lines, _row("all | ", kills)])


def _row(name: str, kills: Sequence[Kill]) -> str:
    def count(outcome: str) -> int:
        return sum(kill.outcome.startswith(outcome) for kill in kills)

    numbers = (
        len(kills),
        sum(kill.begun for kill in kills),
        sum(kill.writing for kill in kills),
        *map(count, ("same bytes", "refused", "left over")),
    )
    return f"| {name} | {' | '.join(map(str, numbers))} |"


if __name__ == "__main__":
    main()
