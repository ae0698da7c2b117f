"""Train with fewer and more marked images, for the curve of accuracy against their number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from looksharp.curing.plan import marked_places
from looksharp.experiments.table import Table
from looksharp.experiments.trial import Trial, plan
from looksharp.propagation.propagate import FEWEST
from looksharp.training.settings import RunConfig

__all__ = ["Budget", "Point", "check_budget", "plan_budget"]


class Point(NamedTuple):
    """A mean over seeds and its 95% interval; NaN at both ends with one seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Budget:
    """Results by number of marked images.

    Attributes:
        table: its variants are the numbers of marked images.
        unit: what the numbers count, such as "Ticked groups".
    """

    table: Table
    unit: str = "Marked images"

    @property
    def marked(self) -> list[int]:
        """Numbers of marked images, in rising order."""
        return sorted(map(int, self.table.variants))

    @property
    def seeds(self) -> list[int]:
        """The seeds."""
        return self.table.seeds

    @property
    def measures(self) -> list[str]:
        """Names of the measures."""
        return self.table.measures

    @property
    def rows(self) -> dict[tuple[int, int], dict[str, float]]:
        """(marked images, seed) -> measure -> value."""
        return {(int(record.variant), record.seed): record.values for record in self.table.records}

    def points(self, measure: str) -> list[Point]:
        """Return a point for each number of marked images; intervals are cut at 0 and 1, where shares end."""
        found = [self.table.summary(str(marked), measure) for marked in self.marked]
        return [Point(each.mean, max(each.low, 0.0), min(each.high, 1.0)) for each in found]


def check_budget(budget: Sequence[int], marked: int, *, of_groups: bool = False) -> None:
    """Refuse what cannot be trained.

    Args:
        budget: numbers of marked images, or of ticked groups.
        marked: their number in the cure.
        of_groups: they are groups ticked as a shortcut.

    Raises:
        ValueError: if a number is negative, there twice or more than there are, or of one image.
    """
    fewest, unit = (1, "groups ticked as a shortcut") if of_groups else (2, "marked images of the training")
    wrong = next((number for number in budget if number < 0 or 0 < number < fewest or number > marked), None)
    if wrong is not None:
        raise ValueError(f"budget must be 0, or {fewest} to the {marked} {unit}; got {wrong}")
    if len(set(budget)) < len(budget):
        raise ValueError(f"budget must be different numbers; got {', '.join(map(str, budget))}")


def plan_budget(
    budget: Sequence[int], seeds: Iterable[int], cure: RunConfig, plain: RunConfig, marked: int, out: Path
) -> list[Trial]:
    """Plan a training with every number of marked images and every seed.

    A seed draws weights, order, and which of the images are the marked ones; more of them include the fewer. Where so
    few are marked that no segmenter can learn them, they are not propagated, and take half of every batch. Without
    marks the numbers are of groups ticked as a shortcut, the first ones.

    Args:
        budget: numbers of marked images.
        seeds: seeds.
        cure: the settings of the cure.
        plain: the settings without marks.
        marked: number of marked images of the cure.
        out: folder of the runs.
    """
    variants = {}
    for count in sorted(budget):
        if not count:
            fewer = cure.marks
        elif cure.marks.marks is None:
            groups = [number for number in cure.marks.shortcut or [] if number]  # 0 are pieces found by them all
            fewer = cure.marks if count == len(groups) else replace(cure.marks, shortcut=groups[:count])
        else:
            fewer = replace(cure.marks, marked=cure.marks.marked if count == marked else count)
            if fewer.propagate and count < FEWEST:
                places = fewer.marked_per_batch or marked_places(cure)
                fewer = replace(fewer, propagate=False, propagate_without=None, marked_per_batch=places)
        variants[str(count)] = replace(cure, marks=fewer) if count else plain
    return plan(variants, seeds, out)
