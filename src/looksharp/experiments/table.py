"""The table of an experiment: a row for every trial, a column for every measure, and its means over seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from looksharp.experiments.record import Record
from looksharp.experiments.statistics import Summary, summarize

__all__ = ["Table"]


@dataclass(frozen=True)
class Table:
    """Measures of every trial.

    Attributes:
        records: one for each variant and seed.

    Example:
        >>> table = Table((Record("plain", 0, {"top1": 0.5}), Record("plain", 1, {"top1": 0.7})))
        >>> print(table.csv())
        variant,seed,top1
        plain,0,0.5
        plain,1,0.7
        <BLANKLINE>
        >>> print(table.markdown(digits=2))
        | variant | top1 |
        |---|---|
        | plain | 0.60 ± 0.14 |

    """

    records: tuple[Record, ...]

    @property
    def variants(self) -> list[str]:
        """Names of the variants, in the order in which they come."""
        return list(dict.fromkeys(record.variant for record in self.records))

    @property
    def seeds(self) -> list[int]:
        """The seeds, in rising order."""
        return sorted({record.seed for record in self.records})

    @property
    def measures(self) -> list[str]:
        """Names of what was measured, in the order in which they come."""
        return list(dict.fromkeys(name for record in self.records for name in record.values))

    def values(self, variant: str, measure: str) -> dict[int, float]:
        """Return a variant's value for each seed that has one."""
        return {r.seed: r.values[measure] for r in self.records if r.variant == variant and measure in r.values}

    def summary(self, variant: str, measure: str) -> Summary:
        """Return a variant's mean over seeds, its spread and its interval; NaN without any value."""
        return summarize(list(self.values(variant, measure).values()))

    def difference(self, variant: str, measure: str, first: str) -> float | None:
        """Return the mean difference to another variant over the seeds that both have; None if they share none."""
        own, other = self.values(variant, measure), self.values(first, measure)
        shared = own.keys() & other.keys()
        return fmean(own[seed] - other[seed] for seed in sorted(shared)) if shared else None

    def diverged(self, variant: str) -> int:
        """Count the seeds whose training diverged."""
        return sum(record.variant == variant and bool(record.diverged) for record in self.records)

    def csv(self, variant: str = "variant") -> str:
        """Return the table as CSV, a trial a row; the column of variants has this name."""
        text = io.StringIO()
        writer = csv.DictWriter(text, [variant, "seed", *self.measures], lineterminator="\n")
        writer.writeheader()
        for record in self.records:
            writer.writerow({variant: record.variant, "seed": record.seed} | record.values)
        return text.getvalue()

    def markdown(self, measures: Iterable[str] | None = None, digits: int = 3, scale: float = 1.0) -> str:
        """Return means ± standard deviations over seeds, a variant a row, and in brackets the change from the first.

        Args:
            measures: the columns; all if not given.
            digits: behind the point.
            scale: factor of all values, such as 100 for shares in per cent.
        """
        columns, variants = list(self.measures if measures is None else measures), self.variants
        lines = ["| variant | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        for variant in variants:
            cells = [self._cell(variant, measure, variants, digits, scale) for measure in columns]
            lines.append(f"| {variant} | " + " | ".join(cells) + " |")
        return "\n".join(lines)

    def _cell(self, variant: str, measure: str, variants: Sequence[str], digits: int, scale: float) -> str:
        if count := self.diverged(variant):
            return f"{count} of {sum(record.variant == variant for record in self.records)} diverged"
        found = self.summary(variant, measure)
        if not found.count:
            return "-"
        text = f"{scale * found.mean:.{digits}f} ± {scale * (found.std if found.count > 1 else 0.0):.{digits}f}"
        change = None if variant == variants[0] else self.difference(variant, measure, variants[0])
        return text if change is None else f"{text} ({scale * change:+.{digits}f})"
