"""Tables of an evaluation, a type for each kind, checked as they are read."""

from __future__ import annotations

from functools import lru_cache
from typing import cast

from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

__all__ = [
    "ByColumn",
    "ConfusedPair",
    "InterventionTable",
    "SanityTable",
    "SeparationTable",
    "Tables",
    "joined",
    "read_tables",
]

ByColumn = dict[str, list[int | float | None]]
"""A table by its columns, all of one length; None for an unknown value."""


class ConfusedPair(TypedDict):
    """A frequent confusion: class names, both numbers, its count, images of the true class, and overlap of maps."""

    true: str
    taken: str
    classes: list[int]
    count: int
    images: int
    overlap: float | None


class SeparationTable(TypedDict):
    """The two distribution functions at each "probability", and where they are farthest apart."""

    probability: list[float]
    target: list[float | None]
    confused: list[float | None]
    margin: float | None
    at: float | None


class SanityTable(TypedDict):
    """Similarity of maps after each step, and the number of images without one; "layer" is the last randomised."""

    layer: list[str]
    rank: list[float | None]
    ssim: list[float | None]
    rank_undefined: list[int]
    ssim_undefined: list[int]


class InterventionTable(TypedDict):
    """Intervals (lowest, highest) and chance by measure, images left out by reason, and images used."""

    intervals: dict[str, list[float]]
    chance: dict[str, float]
    left_out: dict[str, int]
    images: int


@with_config(ConfigDict(extra="allow"))
class Tables(TypedDict, total=False):
    """Every table of the suites here; a suite of another package may add others.

    "classes" are names. "per_class", "by_group" and "by_size" hold an entry a class, group or size, "calibration" one a
    bin. "by_size" also has the "edges" between sizes.
    """

    classes: list[str]
    per_class: ByColumn
    by_group: ByColumn
    by_size: ByColumn
    calibration: ByColumn
    sanity: SanityTable
    separation_chart: SeparationTable
    confused_pairs: list[ConfusedPair]
    interventions: InterventionTable


def joined(first: Tables, second: Tables) -> Tables:
    """Return both: a later table counts, and tables of columns are joined."""
    tables = dict(first)
    for name, table in second.items():
        known = tables.get(name)
        tables[name] = known | table if isinstance(known, dict) and isinstance(table, dict) else table
    return cast(Tables, tables)


def read_tables(values: object) -> Tables:
    """Check tables that were read from a file.

    Raises:
        ValueError: if a table is malformed; the message names it.
    """
    try:
        return _adapter().validate_python(values, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "tables"
        raise ValueError(f"{where}: {first['msg']}") from None


@lru_cache(maxsize=1)
def _adapter() -> TypeAdapter[Tables]:
    return TypeAdapter(Tables)
