"""Describe how a figure of a table is read off a trained run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["OWN_SUITES", "VALIDATION", "Measure", "Unit"]

Unit = Literal["percent", "error", "plain"]
"""A share as it is shown: in percent; what is missing to 100%; or the value as it is."""

VALIDATION = "validation"
"""The split by which a measure names the validation images."""

OWN_SUITES = ("cost", "cue", "recall", "sec")
"""Suites of this room, beside those of `evaluate`; see `measuring`."""


@dataclass(frozen=True)
class Measure:
    """Rule for reading a figure off a run.

    Attributes:
        value: name of the value in what the suite found.
        suite: of `evaluate`; or "cost", "cue", "recall" or "sec", see `measure_run`.
        split: the test split, the first if None; or "validation", the images that choose the best epoch.
        unit: how it is shown.
        of_class: the class whose value it is, from the suite's table of classes.
        gain: whether the table shows the difference to the row that this one is `over`.
        per_million: whether the table divides by the millions of parameters, of a gain by those added.
    """

    value: str
    suite: str = "classification"
    split: str | None = None
    unit: Unit = "percent"
    of_class: str | None = None
    gain: bool = False
    per_million: bool = False

    def shown(self, value: float) -> float:
        """Return a value in this unit."""
        return {"percent": 100 * value, "error": 100 * (1 - value), "plain": value}[self.unit]
