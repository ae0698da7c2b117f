"""Choose how torch's threads wait for each other, which must be done before torch loads.

A thread that spins reacts at once but holds its core. On an idle machine that gains up to a fifth of a training step;
beside other processes the spinning keeps them, and the thread that all wait for, from running, and a step takes several
times as long. A thread that waits passively leaves its core.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["choose_waiting", "cores", "is_busy", "running"]

_CHOSEN_BY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
"""Variables of the environment by which users choose themselves."""

_SAMPLES, _APART = 5, 0.01  # seconds


def choose_waiting() -> None:
    """Let threads wait passively where the machine is busy now, unless the environment says how or torch is loaded."""
    if "torch" not in sys.modules and not any(name in os.environ for name in _CHOSEN_BY) and is_busy():
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"


def is_busy() -> bool:
    """Return True if what runs already and torch's threads want more cores than there are."""
    available = cores()
    return running() + _threads(os.environ, available) > available


def _threads(environment: Mapping[str, str], available: float) -> float:
    """Return the number of threads that torch will run: one a core that the system shows, unless a variable says it."""
    told = environment.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(told) if told.isdecimal() and int(told) else max(available, _shown())


def cores(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return how many cores this process may use: those it is bound to, or less by the quota of a container.

    Args:
        groups: where the control groups of Linux are mounted.
        own: file that names this process's groups.
    """
    return min([float(_shown()), *_quotas(groups, own)])


def _shown() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _quotas(groups: Path, own: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of this process's control groups, version 1 or 2, and of those above them."""
    try:
        named = [line.split(":", 2)[2].strip("/") for line in own.read_text().splitlines() if line.startswith("0::")]
    except OSError:
        named = []
    places = [groups / "cpu", *(groups / name for name in named), groups]
    for place in {
        above: None for each in places for above in (each, *each.parents) if groups in (above, *above.parents)
    }:
        for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                quota, period = " ".join((place / file).read_text() for file in files).split()
            except (OSError, ValueError):
                continue
            if quota.isdecimal():  # neither "max" nor -1
                yield int(quota) / int(period)


def running(load: Path = Path("/proc/loadavg")) -> float:
    """Return how many threads run or wait for a core now, this one aside.

    Args:
        load: the file in which Linux counts them; elsewhere the mean load of the last minute is returned.
    """
    counts = []
    for sample in range(_SAMPLES):  # a kernel thread that runs for a moment is no load
        if sample:
            time.sleep(_APART)
        try:
            counts.append(int(load.read_text().split()[3].partition("/")[0]) - 1)
        except (OSError, ValueError, IndexError):
            return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(sorted(counts)[_SAMPLES // 2], 0)
