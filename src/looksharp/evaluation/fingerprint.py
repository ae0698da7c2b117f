"""Fingerprints of all that an evaluation depends on: the images, their labels and masks, and the weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

from looksharp.data.split import Pixels, Split

__all__ = ["file_fingerprint", "split_fingerprint"]


def file_fingerprint(path: Path) -> str:
    """Return a text that is equal for files of the same content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def split_fingerprint(split: Split, pixels: Pixels) -> str:
    """Return a text that is equal for splits of the same images, read in the same way; see `Split.fingerprint`."""
    return hashlib.sha256(f"{pixels!r} {split.fingerprint()}".encode()).hexdigest()
