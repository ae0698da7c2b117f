"""Write and read the record of one trial, a file of its run folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from looksharp.files import read_text, write_text
from looksharp.settings import build, settings

__all__ = ["RECORD", "Record", "Values", "read_record", "read_records", "write_record"]

RECORD = "measured.json"
"""The file's name."""

Values = dict[str, float]
"""Measure -> its value; one that is undefined is left out."""


@settings
class Record:
    """One variant trained with one seed, and what was measured.

    Attributes:
        variant: name of the variant.
        seed: seed of the run.
        values: measure -> its value; without those that are undefined.
        settings: all settings of the run.
        data: name of the data set.
        images: number of training images.
        epochs: epochs it was trained for.
        seconds: training time.
        commit: commit of this library.
        hardware: device and precision.
        diverged: why training ended early, where its loss was not finite.
    """

    variant: str
    seed: int
    values: dict[str, float]
    settings: dict[str, object] = field(default_factory=dict)
    data: str = ""
    images: Annotated[int, Ge(0)] = 0
    epochs: Annotated[int, Ge(0)] = 0
    seconds: Annotated[float, Ge(0)] = 0.0
    commit: str = ""
    hardware: str = ""
    diverged: str = ""


def write_record(folder: Path, record: Record) -> None:
    """Write FOLDER/measured.json."""
    write_text(folder / RECORD, json.dumps(asdict(record), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: Path) -> Record | None:
    """Read FOLDER/measured.json; None if there is none.

    Raises:
        ValueError: if the file is damaged; the message names it.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return build(Record, json.loads(read_text(path)), "")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and the run is measured again") from None


def read_records(folder: Path) -> list[Record]:
    """Read all records in FOLDER/VARIANT/seed-N, by variant and seed."""
    return sorted(_records(folder), key=lambda each: (each.variant, each.seed))


def _records(folder: Path) -> Iterator[Record]:
    for path in folder.glob(f"*/seed-*/{RECORD}"):
        record = read_record(path.parent)
        if record is not None:
            yield record
