"""What `looksharp` costs until it answers or trains, and how its threads wait beside other processes.

Start-up is processor time of a fresh process, the least of some runs, with compiled byte code. How threads wait is
timed on an idle machine and beside a process for each core that does nothing but spin, in interleaved rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from looksharp.cli.command import COMMANDS
from looksharp.cli.waiting import is_busy

_WAYS = {"spinning": {"OMP_WAIT_POLICY": "ACTIVE"}, "passive": {"OMP_WAIT_POLICY": "PASSIVE"}, "as chosen": {}}
_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")

_FIRST_STEP = """
import os, sys, tempfile
from looksharp import cli
parsed = cli._parsed
def hooked(given):
    settings = parsed(given)  # loads torch, as it does for a user
    from torch.optim.optimizer import register_optimizer_step_post_hook
    register_optimizer_step_post_hook(lambda *_: os._exit(0))
    return settings
cli._parsed = hooked
cli.main(["train", "--data", "digits", "--out", tempfile.mkdtemp(dir=sys.argv[1])])
sys.exit("no step was taken")
"""
_STEPS = """
import sys, time
from looksharp.cli.waiting import choose_waiting
choose_waiting()
import torch
from looksharp import GAIN, Guidance
from looksharp.networks import SmallNet
torch.manual_seed(0)
model, image, target = SmallNet(10), torch.rand(64, 3, 48, 48), torch.randint(0, 10, (64,))
mask = (torch.rand(8, 48, 48) > 0.5).float()
batch = {"image": image, "target": target, "sample": torch.arange(8), "label": target[:8], "mask": mask}
objective = GAIN() + Guidance("squared_error")
times = []
for _ in range(int(sys.argv[1])):
    started = time.perf_counter()
    objective(model, batch).loss.backward()
    times.append(time.perf_counter() - started)
print(sorted(times[2:])[len(times[2:]) // 2])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each start, of which the fastest counts")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of training steps")
    parser.add_argument("--steps", type=int, default=14, help="training steps of a round, of which two are warm-up")
    parser.add_argument("--only", choices=["start", "waiting"], default=None)
    options = parser.parse_args()
    if options.only != "waiting":
        print(f"the machine is {'busy' if is_busy() else 'idle'}\n\n{_starts(options.runs)}\n", flush=True)
    if options.only != "start":
        print(_waiting("nothing else runs" if not is_busy() else "other processes run", options), flush=True)
        with _spinning():
            print(_waiting("beside a spinning process for each core", options), flush=True)


def _starts(runs: int) -> str:
    """Markdown: processor and elapsed seconds of each start."""
    command = [sys.executable, "-m", "looksharp"]
    slowest = max(COMMANDS, key=lambda name: _cost([*command, name, "--help"], 1)[0])
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "python -c 'import torch'": (_cost([sys.executable, "-c", "import torch"], runs), ""),
            "looksharp --help": (_cost([*command, "--help"], runs), "≤ 0.3"),
            f"looksharp {slowest} --help, the slowest": (_cost([*command, slowest, "--help"], runs), "≤ 2"),
            "train on digits, to the end of its first step": (
                _cost([sys.executable, "-c", _FIRST_STEP, folder], runs),
                "≤ 6 elapsed",
            ),
        }
    lines = [f"| {name} | {used:.2f} | {took:.2f} | {target} |" for name, ((used, took), target) in rows.items()]
    return "\n".join(["| | processor s | elapsed s | target |", "|---|---|---|---|", *lines])


def _cost(command: list[str], runs: int) -> tuple[float, float]:
    """Return processor and elapsed seconds of the run that took the least of the processor."""
    found = []
    for _ in range(runs):
        before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env=_environment({}))
        took, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        found.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, took))
    return min(found)


def _environment(chosen: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _VARIABLES} | chosen


def _waiting(title: str, options: argparse.Namespace) -> str:
    """Markdown: milliseconds of a GAIN step for each way in which threads may wait, and its ratio to the best."""
    times: dict[str, list[float]] = {name: [] for name in _WAYS}
    for _ in range(options.rounds):
        for name, chosen in _WAYS.items():
            command = [sys.executable, "-c", _STEPS, str(options.steps)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=_environment(chosen))
            times[name].append(float(done.stdout))
    best = min(statistics.median(found) for found in times.values())
    lines = [
        f"| {name} | {1000 * statistics.median(found):.0f} | {statistics.median(found) / best:.2f} |"
        for name, found in times.items()
    ]
    return "\n".join(
        [f"**{title}**, target ≤ 1.2\n", "| threads wait | median ms | ratio |", "|---|---|---|", *lines, ""]
    )


@contextmanager
def _spinning() -> Iterator[None]:
    """Run a process for each core that spins."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for each in others:
            each.kill()
            each.wait()


if __name__ == "__main__":
    main()
