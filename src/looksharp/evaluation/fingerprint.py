"""Fingerprints of all that an evaluation depends on: the images, their labels and masks, and the weights."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from looksharp.data.split import Pixels, Split

__all__ = ["code_fingerprint", "file_fingerprint", "model_fingerprint", "split_fingerprint"]

_LIBRARIES = ("torch", "torchvision", "captum")


@lru_cache
def code_fingerprint(*rooms: str) -> str:
    """Return a text that is equal for the same code in these rooms of looksharp, and the same libraries that compute.

    Between releases the version stays and results may change; the code tells.

    Example:
        >>> code_fingerprint("metrics") == code_fingerprint("attention", "metrics")
        False

    """
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for room in rooms for path in (package / room).rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    for name in _LIBRARIES:
        try:
            digest.update(f"{name} {version(name)}".encode())
        except PackageNotFoundError:
            digest.update(f"no {name}".encode())
    return digest.hexdigest()


def file_fingerprint(path: Path) -> str:
    """Return a text that is equal for files of the same content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_fingerprint(model: nn.Module) -> str:
    """Return a text that is equal for networks of the same code and state."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def split_fingerprint(split: Split, pixels: Pixels) -> str:
    """Return a text that is equal for splits of the same images, read in the same way; see `Split.fingerprint`."""
    return hashlib.sha256(f"{pixels!r} {split.fingerprint()}".encode()).hexdigest()
