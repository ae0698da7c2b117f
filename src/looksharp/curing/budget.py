"""How many marked images are enough? The same training with fewer and more of them, over seeds."""

from __future__ import annotations

import csv
import io
import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from looksharp.files import write_text
from looksharp.training.folder import Run
from looksharp.training.settings import RunConfig

__all__ = ["Budget", "Point", "check_budget", "spend", "t_interval", "write_budget"]

Values = dict[str, float]


class Point(NamedTuple):
    """A mean over seeds and its 95% interval; NaN at both ends with one seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Budget:
    """What was reached with how many marked images.

    Attributes:
        rows: (marked images, seed) -> measure -> value.
    """

    rows: dict[tuple[int, int], Values]

    @property
    def marked(self) -> list[int]:
        """Numbers of marked images, in rising order."""
        return sorted({marked for marked, _ in self.rows})

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return sorted({seed for _, seed in self.rows})

    @property
    def measures(self) -> list[str]:
        """Names of what was measured."""
        return list(dict.fromkeys(name for values in self.rows.values() for name in values))

    def points(self, measure: str) -> list[Point]:
        """One for each number of marked images; intervals are cut at 0 and 1, where shares end."""
        found: dict[int, list[float]] = {marked: [] for marked in self.marked}
        for (marked, _), values in self.rows.items():
            found[marked].append(values.get(measure, math.nan))
        points = [t_interval(values) for values in found.values()]
        return [Point(mean, max(low, 0.0), min(high, 1.0)) for mean, low, high in points]


def t_interval(values: Sequence[float]) -> Point:
    """Mean and 95% t-interval, mean ± t s / sqrt(n), where t is Student's with n - 1 degrees of freedom.

    Example:
        >>> [round(value, 3) for value in t_interval([0.8, 0.9, 1.0])]
        [0.9, 0.652, 1.148]

    """
    from scipy.stats import t

    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Point(mean, math.nan, math.nan)
    half = float(t.ppf(0.975, count - 1)) * statistics.stdev(values) / math.sqrt(count)
    return Point(mean, mean - half, mean + half)


def check_budget(budget: Sequence[int], seeds: int, marked: int) -> None:
    """Refuse what cannot be trained.

    Raises:
        ValueError: if a number is 1, negative, there twice or more than there are, or there is no seed.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be at least 1; got {seeds}")
    wrong = next((number for number in budget if number < 0 or number == 1 or number > marked), None)
    if wrong is not None:
        raise ValueError(f"budget must be 0, or 2 to the {marked} marked images that guide; got {wrong}")
    if len(set(budget)) < len(budget):
        raise ValueError(f"budget must be different numbers; got {', '.join(map(str, budget))}")


def spend(
    budget: Sequence[int],
    seeds: Sequence[int],
    *,
    cure: RunConfig,
    plain: RunConfig,
    marked: int,
    out: Path,
    train: Callable[[RunConfig, Path], Run],
    measure: Callable[[Run], Values],
) -> Budget:
    """Train with every number of marked images and every seed; what is finished is read.

    A seed draws weights, order, and which of the images are the marked ones; more of them include the fewer.

    Args:
        budget: numbers of marked images.
        seeds: seeds.
        cure: the settings of the cure.
        plain: the settings without marks.
        marked: number of marked images of the cure.
        out: folder of the runs.
        train: makes a run of some settings in a folder.
        measure: what is asked of a run.
    """
    rows: dict[tuple[int, int], Values] = {}
    for count in sorted(budget):
        for seed in seeds:
            number = cure.marks.marked if count == marked else count
            config = replace(cure, marks=replace(cure.marks, marked=number)) if count else plain
            config = replace(config, training=replace(config.training, seed=seed))
            folder = out / f"{count}-{seed}"
            rows[count, seed] = _kept(folder / "budget.json", train(config, folder), measure)
    return Budget(rows)


def _kept(path: Path, run: Run, measure: Callable[[Run], Values]) -> Values:
    if not path.is_file():
        write_text(path, json.dumps(measure(run)) + "\n")
    values: Values = json.loads(path.read_text())
    return values


def write_budget(path: Path, budget: Budget) -> None:
    """Write every run's values as CSV: marked, seed, and a column for each measure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["marked", "seed", *budget.measures], lineterminator="\n")
    writer.writeheader()
    for (marked, seed), values in budget.rows.items():
        writer.writerow({"marked": marked, "seed": seed} | values)
    write_text(path, text.getvalue())
