"""A folder of seeds: images of class indices, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from looksharp.files import read_text

__all__ = ["SeedFolder", "read_seed_folder"]


@dataclass(frozen=True)
class SeedFolder:
    """A folder of seeds.

    Attributes:
        root: the folder.
        data: settings of the data set whose images have seeds, as `DataConfig` takes them.
        seed: seed with which the data set was read.
        split: the split whose images have seeds.
        images: number of them.
        in_memory: True if they are in memory, not in files.
        classes: names of the classes.
        made: how the seeds were made: mechanism, scales, threshold, weights, ...
    """

    root: Path
    data: Mapping[str, object]
    seed: int
    split: str
    images: int
    in_memory: bool
    classes: tuple[str, ...]
    made: Mapping[str, object] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Return the file that holds these facts."""
        return self.root / "seeds.json"

    def file(self, name: str) -> Path:
        """Return the file of the seeds of an image called so."""
        return self.root / "masks" / Path(name).with_suffix(".png")

    def facts(self) -> dict[str, object]:
        """Return all but the folder, to be written."""
        return {
            "data": dict(self.data),
            "seed": self.seed,
            "split": self.split,
            "images": self.images,
            "in_memory": self.in_memory,
            "classes": list(self.classes),
            "made": dict(self.made),
        }


def read_seed_folder(root: Path | str) -> SeedFolder:
    """Read a folder that `looksharp seeds` wrote.

    Raises:
        ValueError: if it is none, or is damaged.
    """
    path = Path(root) / "seeds.json"
    if not path.is_file():
        raise ValueError(f"{root} is no folder of seeds: it has no seeds.json; make it with looksharp seeds")
    try:
        values = json.loads(read_text(path))
        return SeedFolder(
            Path(root),
            dict(values["data"]),
            int(values["seed"]),
            str(values["split"]),
            int(values["images"]),
            bool(values["in_memory"]),
            tuple(map(str, values["classes"])),
            dict(values["made"]),
        )
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged; make the seeds again with looksharp seeds") from None
