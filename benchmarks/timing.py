"""Time several things side by side: interleaved rounds, medians of per-round ratios."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

import torch

__all__ = ["add_options", "chosen_device", "hardware", "measure", "table"]


def add_options(parser: argparse.ArgumentParser, *, size: int, rounds: int) -> None:
    """The options that every timing shares."""
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "resnet50"], help="as train takes them")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=size, help="pixels")
    parser.add_argument("--rounds", type=int, default=rounds, help="each runs every task once")
    parser.add_argument("--only", nargs="+", default=None, help="rows to time beside the first; all if not given")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--threads", type=int, default=None, help="torch's number of CPU threads")


def chosen_device(options: argparse.Namespace) -> torch.device:
    """The device asked for; sets the number of threads."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    automatic = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(automatic if options.device == "auto" else options.device)


def measure(
    tasks: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds of every task in every round.

    A round runs all tasks, so that all meet the same noise, and each begins with another one, so that none always
    follows the same.
    """

    def seconds(task: Callable[[], object]) -> float:
        _synchronize(device)
        started = clock()
        task()
        _synchronize(device)
        return clock() - started

    for _ in range(warmup):
        for task in tasks.values():
            task()
    names = list(tasks)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(seconds(tasks[name]))
    return times


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(times: Mapping[str, list[float]], base: str, targets: Mapping[str, float] | None = None) -> str:
    """Markdown: milliseconds, and ratios to `base`: the median over rounds, its quartiles, and of the fastest runs."""
    lines = [
        "| | median ms | fastest ms | ratio, median (quartiles) | ratio of fastest | target |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in times.items():
        ratios = [t / b for t, b in zip(found, times[base], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        target = f"≤ {targets[name]}" if targets and name in targets else ""
        lines.append(
            f"| {name} | {1000 * statistics.median(found):.0f} | {1000 * min(found):.0f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {min(found) / min(times[base]):.2f} | {target} |"
        )
    return "\n".join(lines)


def hardware(device: torch.device, *packages: str) -> str:
    """One line on what this ran on: device, load by others on a CPU, versions of torch, looksharp and `packages`."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
        name = f"{_processor()}, {torch.get_num_threads()} threads on {os.cpu_count()} cores{load}"
    return "; ".join([name, *(f"{package} {version(package)}" for package in ("torch", "looksharp", *packages))])


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
