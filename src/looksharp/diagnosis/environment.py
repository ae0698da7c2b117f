"""Versions, devices and optional packages of this installation."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import torch

__all__ = ["environment"]

_NEEDED = ("torch", "torchvision", "timm", "lightning")
_OF_DEVELOPERS = ("bench", "dev", "docs")


def environment() -> dict[str, str]:
    """Return in words, by topic, what looksharp runs on."""
    found, missing = _optional()
    packages = ", ".join(f"{name} {number}" for name, number in found.items()) or "none"
    if missing:
        packages += f"; not installed: {', '.join(f'{name} (looksharp[{extra}])' for name, extra in missing.items())}"
    return {
        "looksharp": f"{version('looksharp')}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in _NEEDED),
        "devices": _devices(),
        "optional": packages,
    }


def _devices() -> str:
    waiting = ", which wait passively" if os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE" else ""
    processor = f"cpu ({os.cpu_count()} cores, {torch.get_num_threads()} threads{waiting})"
    if not torch.accelerator.is_available():
        return processor
    kind = torch.accelerator.current_accelerator()
    count = torch.accelerator.device_count()
    named = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return f"{processor}; {kind}, {count} of {named}" if named else f"{processor}; {kind}, {count}"


def _optional() -> tuple[dict[str, str], dict[str, str]]:
    """Return the optional packages that are installed -> version, and those that are not -> the extra that has them."""
    found: dict[str, str] = {}
    missing: dict[str, str] = {}
    for needed in requires("looksharp") or ():
        stated = re.fullmatch(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"].*", needed)
        if stated is None or stated[2] in _OF_DEVELOPERS:
            continue
        try:
            found[stated[1]] = version(stated[1])
        except PackageNotFoundError:
            missing[stated[1]] = stated[2]
    return found, missing
