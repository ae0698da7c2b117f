"""Name the origin of a figure: the commit of this library, and the machine."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

from looksharp.training.folder import find_device

__all__ = ["commit", "hardware"]


def commit(source: Path = Path(__file__).parent) -> str:
    """Return the commit that `source` is checked out at, with "+" if files have changed; else the installed version."""
    try:
        _git(source, "ls-files", "--error-unmatch", ".")  # an environment below another project's checkout is not it
        found = _git(source, "rev-parse", "--short=10", "HEAD")
        changed = _git(source, "status", "--porcelain", "--untracked-files=no", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return version("looksharp")
    return found + ("+" if changed else "")


def hardware(device: str = "auto", precision: str = "32-true") -> str:
    """Describe the device that a run computes on, and its precision."""
    found = find_device(device)
    if found.type == "cuda":
        name = torch.cuda.get_device_name(found)
    elif found.type == "cpu":
        name = f"{_processor()}, {torch.get_num_threads()} threads"
    else:
        name = f"{found.type} of {_processor()}"
    return f"{name}, {precision}"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
