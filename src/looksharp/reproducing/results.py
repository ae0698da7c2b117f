"""What came of one row with one seed, in a file of the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from looksharp.files import write_text
from looksharp.reproducing.measuring import Figures

__all__ = ["RESULT", "Result", "differing", "read_result", "read_results", "write_result"]

RESULT = "reproduced.json"
_OF_THE_MACHINE = frozenset({"device", "devices", "workers", "root"})
"""Settings that may differ from machine to machine."""


@dataclass(frozen=True)
class Result:
    """One row with one seed.

    Attributes:
        recipe: its name.
        row: short name of the row.
        seed: of the run.
        scale: share of epochs and images; 1 is the whole recipe.
        figures: see `Figures`.
        parameters: of the network.
        settings: all of the run's.
        data: what the images were read from.
        images: how many trained the network.
        epochs: that it was trained for.
        seconds: of training.
        commit: of this library.
        hardware: device and precision.
    """

    recipe: str
    row: str
    seed: int
    scale: float
    figures: Figures
    parameters: int
    settings: Mapping[str, Any]
    data: str
    images: int
    epochs: int
    seconds: float
    commit: str
    hardware: str


def write_result(folder: Path, result: Result) -> None:
    """Leave it in a run's folder."""
    write_text(folder / RESULT, json.dumps(asdict(result), indent=2, ensure_ascii=False) + "\n")


def read_result(folder: Path) -> Result | None:
    """What a run's folder holds; None if it is not finished.

    Raises:
        ValueError: if the file is damaged.
    """
    path = folder / RESULT
    if not path.is_file():
        return None
    try:
        return Result(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{path} is damaged: remove it, and the row is measured again") from None


def read_results(folder: Path) -> list[Result]:
    """All finished rows in folder/ROW/seed-N, by row and seed."""
    found = [read_result(path.parent) for path in sorted(folder.glob(f"*/seed-*/{RESULT}"))]
    return sorted((each for each in found if each is not None), key=lambda each: (each.row, each.seed))


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first setting that differs, "lr 0.1 and not 0.2", where the machine's own do not count; "" if none."""
    for name in dict.fromkeys((*before, *now)):
        if name not in _OF_THE_MACHINE and before.get(name) != now.get(name):
            return f"{name} {before.get(name)} and not {now.get(name)}"
    return ""
