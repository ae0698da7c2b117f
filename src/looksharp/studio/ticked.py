"""The groups of suspects that a person ticked in the studio: RUN/studio/ticks.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from looksharp.files import write_text
from looksharp.marks.documents import read_json
from looksharp.marks.values import mapping, whole_numbers

__all__ = ["Ticked", "groups_file", "read_ticked", "write_ticked"]


@dataclass(frozen=True)
class Ticked:
    """Ticked groups, by their numbers.

    Attributes:
        shortcut: those that show a shortcut.
        object: those that show the object.
    """

    shortcut: tuple[int, ...] = ()
    object: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.shortcut) + len(self.object)


def groups_file(folder: Path, cues: Path | None = None) -> Path:
    """Return the groups.json that ticks are of: that which was named, or the studio's own.

    Args:
        folder: RUN/studio.
        cues: what was named: the file, or its folder.
    """
    chosen = folder / "suspects" if cues is None else cues
    return chosen if chosen.suffix == ".json" else chosen / "groups.json"


def read_ticked(folder: Path) -> Ticked:
    """Read the ticks below RUN/studio; none if there is no file.

    Raises:
        ValueError: if the file is damaged.
    """
    path = folder / "ticks.json"
    if not path.is_file():
        return Ticked()
    content = mapping(read_json(path, "ticks of groups", "remove it, and tick again"))
    found = [whole_numbers(content.get(name, [])) for name in ("shortcut", "object")]
    if None in found:
        raise ValueError(f"{path} must name groups by whole numbers, as shortcut and object: remove it, and tick again")
    return Ticked(*(tuple(each or ()) for each in found))


def write_ticked(folder: Path, shortcut: Iterable[int], objects: Iterable[int]) -> None:
    """Write the ticks below RUN/studio."""
    content = {"shortcut": sorted(shortcut), "object": sorted(objects)}
    write_text(folder / "ticks.json", json.dumps(content) + "\n")
