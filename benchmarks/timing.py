"""Time several things side by side: interleaved rounds, medians of per-round ratios."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version

import torch

__all__ = ["hardware", "measure", "table"]


def measure(
    tasks: Mapping[str, Callable[[], object]], rounds: int, device: torch.device, warmup: int = 2
) -> dict[str, list[float]]:
    """Seconds of every task in every round. Each round runs all tasks, so that all meet the same noise."""

    def seconds(task: Callable[[], object]) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        task()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    for _ in range(warmup):
        for task in tasks.values():
            task()
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            times[name].append(seconds(task))
    return times


def table(times: Mapping[str, list[float]], base: str) -> str:
    """Markdown: median milliseconds, the median over rounds of the ratio to `base`, and the ratio of minima."""
    lines = ["| | median ms | ratio, median | ratio of fastest |", "|---|---|---|---|"]
    for name, found in times.items():
        ratio = statistics.median(t / b for t, b in zip(found, times[base], strict=True))
        fastest = min(found) / min(times[base])
        lines.append(f"| {name} | {1000 * statistics.median(found):.1f} | {ratio:.2f} | {fastest:.2f} |")
    return "\n".join(lines)


def hardware(device: torch.device) -> str:
    """One line on what this ran on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU"
    threads = "" if device.type == "cuda" else f", {torch.get_num_threads()} of {os.cpu_count()} threads"
    return f"{name}{threads}, torch {version('torch')}, looksharp {version('looksharp')}"
