"""Results of trainings side by side, as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Results", "RunResult"]


@dataclass(frozen=True)
class RunResult:
    """One training and how it did.

    Attributes:
        name: short, unique among the runs.
        description: one sentence on what it was trained with.
        seconds: training time.
        curves: quantity -> value per epoch, NaN where not measured; "epoch" holds the epochs (1, 2, ... if
            missing). Names are a metric's or a loss term's with "train_" or "val_" before it.
        splits: split -> metric -> value. Any metric may be missing or NaN, which shows as a dash. Shares are of
            1, not of 100. Any name will do; those in `METRICS` are put in plain words.
    """

    name: str
    description: str
    seconds: float
    curves: dict[str, list[float]]
    splits: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Results:
    """Trainings side by side; the first is the one that the others are held against.

    Attributes:
        title: of the page.
        summary: one or two plain sentences, shown on top.
        data: what was classified.
        classes: class names.
        settings: what the trainings have in common, name -> value.
        versions: package -> version.
        runs: one or more, of different names.
        chance: accuracy of guessing.
        split_notes: split -> one short sentence on what is in it; any may be missing.

    Raises:
        ValueError: if there is no run, or two have one name.
    """

    title: str
    summary: str
    data: str
    classes: tuple[str, ...]
    settings: dict[str, str]
    versions: dict[str, str]
    runs: tuple[RunResult, ...]
    chance: float
    split_notes: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [run.name for run in self.runs]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"runs must be one or more, of different names; got {names}")
