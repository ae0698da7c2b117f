"""Fingerprints of all that an evaluation depends on: the images, their labels and masks, and the weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import nn

from looksharp.data.split import Pixels, Split

__all__ = ["file_fingerprint", "model_fingerprint", "split_fingerprint"]


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
