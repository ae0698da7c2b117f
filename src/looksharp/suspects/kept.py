"""Keep the regions of images in files as they are found, so that a search that was killed goes on."""

from __future__ import annotations

import hashlib
import zipfile
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from looksharp.files import replacing
from looksharp.suspects.choosing import Suspects

__all__ = ["KeptRegions", "key_of"]


def key_of(found: Suspects, *facts: str) -> str:
    """Return a text that is equal where the pairs of image and class are, and the facts."""
    pairs = torch.stack([found.index, found.label]).numpy().tobytes()
    return hashlib.sha256("\0".join(facts).encode() + pairs).hexdigest()[:16]


class KeptRegions:
    """Files of regions in a folder, each of some images; without a folder nothing is kept.

    Args:
        folder: the folder.
        key: a text that differs where anything does on which regions depend; files of others are removed.
    """

    def __init__(self, folder: Path | None, key: str) -> None:
        self.folder, self.key = folder, key

    def read(self) -> tuple[list[int], dict[int, Sequence[int]]]:
        """Return places of the images that were looked at, and row -> run lengths of the regions found in them."""
        images: list[int] = []
        regions: dict[int, Sequence[int]] = {}
        for path in [] if self.folder is None else sorted(self.folder.glob("regions-*.npz")):
            if not path.name.startswith(f"regions-{self.key}-"):
                path.unlink(missing_ok=True)
                continue
            with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # damaged: looked for again
                places, found = _read(path)
                images += places
                regions |= found
        return images, regions

    def write(self, images: Sequence[int], regions: Mapping[int, Sequence[int]]) -> None:
        """Keep the regions of images.

        Args:
            images: their places; at least one.
            regions: row of `Suspects` -> run lengths of its region, where there is one.
        """
        if self.folder is None:
            return
        path = self.folder / f"regions-{self.key}-{images[0]:08d}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:  # np.savez would add a suffix to a name
            np.savez_compressed(
                file,
                images=np.array(images),
                rows=np.array(list(regions), np.int64),
                lengths=np.array([len(runs) for runs in regions.values()], np.int64),
                runs=np.array([run for runs in regions.values() for run in runs], np.uint32),
            )


def _read(path: Path) -> tuple[list[int], dict[int, Sequence[int]]]:
    with path.open("rb") as file, np.load(file) as kept:  # given a path, it leaves a damaged file open
        lengths, runs = kept["lengths"], kept["runs"]
        ends = np.cumsum(lengths).tolist()
        parts = [array("I", runs[end - length : end].tolist()) for end, length in zip(ends, lengths, strict=True)]
        return kept["images"].tolist(), dict(zip(kept["rows"].tolist(), parts, strict=True))
