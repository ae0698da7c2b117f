"""Differences between variants over seeds and test images, with intervals and corrected tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypedDict

import torch
from torch import Tensor

from looksharp.evaluation.result import Evaluation
from looksharp.experiments.statistics import (
    bootstrap_means,
    holm,
    interval,
    paired_test,
    resample_seeds,
    summarize,
)

__all__ = ["Entry", "compare_variants"]

_LEVEL = 0.05  # of significance


@dataclass(frozen=True)
class Entry:
    """One metric of one method on one split, and how it stands to the first method; NaN where unknown.

    Attributes:
        checkpoint: "last" or "best": which epoch's weights.
        split: test split.
        metric: its name.
        method: its name.
        seeds: how many runs.
        mean: over seeds.
        std: over seeds (n - 1); NaN for one.
        difference: mean less the first method's.
        low: lower end of the difference's interval.
        high: upper end.
        p_value: of the paired test.
        p_corrected: after Holm, over all tests of the comparison.
        test: "sign-flip", "Wilcoxon", or "" where images have no value of their own.
        significant: corrected p below 0.05, and the interval on one side of 0.
    """

    checkpoint: str
    split: str
    metric: str
    method: str
    seeds: int
    mean: float
    std: float
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p_value: float = math.nan
    p_corrected: float = math.nan
    test: str = ""
    significant: bool = False


class _Compared(TypedDict):
    low: float
    high: float
    p_value: float
    test: str


def compare_variants(
    evaluations: Mapping[str, Mapping[str, Sequence[Mapping[str, Evaluation]]]], resamples: int = 2000
) -> list[Entry]:
    """Compare all methods with the first in all metrics; the tests are corrected together.

    Args:
        evaluations: checkpoint -> method -> for each seed, split -> what was measured. All per-image values of a
            split are of the same images in the same order.
        resamples: of the bootstrap; see `bootstrap_means`.
    """
    entries: list[Entry] = []
    for checkpoint, methods in evaluations.items():
        splits = dict.fromkeys(split for runs in methods.values() for run in runs for split in run)
        for split in splits:
            found = {name: [run[split] for run in runs] for name, runs in methods.items()}
            entries += _split_entries(checkpoint, split, found, resamples)
    tested = [place for place, entry in enumerate(entries) if math.isfinite(entry.p_value)]
    for place, corrected in zip(tested, holm([entries[place].p_value for place in tested]), strict=True):
        entry = entries[place]
        clear = entry.low > 0 or entry.high < 0
        entries[place] = replace(entry, p_corrected=corrected, significant=corrected < _LEVEL and clear)
    return entries


def _split_entries(
    checkpoint: str, split: str, found: Mapping[str, Sequence[Evaluation]], resamples: int
) -> list[Entry]:
    evaluations = [evaluation for runs in found.values() for evaluation in runs]
    names = list(dict.fromkeys(name for e in evaluations for name in (*e.values, *e.per_image)))
    # Metrics that every run has for every image: resampled together, on the same draws.
    paired = [name for name in names if all(name in e.per_image for e in evaluations)]
    columns = [e.per_image[name] for name in paired for e in evaluations]
    resampled = bootstrap_means(torch.stack(columns, 1), resamples) if columns else torch.empty(resamples, 0)
    resamples_of = dict(zip(paired, resampled.split(len(evaluations), 1), strict=False)) if paired else {}
    first, *_ = found
    entries = []
    for name in names:
        means = {method: _seed_means(name, runs) for method, runs in found.items()}
        compared = _compare(name, found, resamples_of[name]) if name in resamples_of else {}
        for method, values in means.items():
            own = summarize(values)
            entry = Entry(checkpoint, split, name, method, own.count, own.mean, own.std)
            if method != first:
                entry = replace(entry, difference=own.mean - summarize(means[first]).mean)
            if method in compared:
                entry = replace(entry, **compared[method])
            entries.append(entry)
    return entries


def _compare(name: str, found: Mapping[str, Sequence[Evaluation]], resampled: Tensor) -> dict[str, _Compared]:
    """Return the interval and test of every method's difference to the first, in one metric.

    Args:
        name: the metric.
        found: method -> each seed's evaluation.
        resampled: (B, S) the mean of every seed of every method, in their order, in each resample.
    """
    drawn = dict(zip(found, resampled.split([len(runs) for runs in found.values()], 1), strict=True))
    values = {method: torch.stack([run.per_image[name] for run in runs]) for method, runs in found.items()}
    first, *others = found
    compared: dict[str, _Compared] = {}
    for place, method in enumerate(others, 2):
        # Seeds are drawn anew for each method: they are no pairs.
        low, high = interval(resample_seeds(drawn[method], place) - resample_seeds(drawn[first], 1))
        p_value, test = paired_test(values[first], values[method])
        compared[method] = {"low": low, "high": high, "p_value": p_value, "test": test}
    return compared


def _seed_means(name: str, runs: Sequence[Evaluation]) -> list[float]:
    """Return each seed's value; NaN where it has none."""
    return [
        float(run.per_image[name].double().nanmean()) if name in run.per_image else run.values.get(name, math.nan)
        for run in runs
    ]
