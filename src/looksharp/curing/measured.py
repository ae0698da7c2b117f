"""Measure a classifier: evaluate it on every split, and intervene where objects are marked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from looksharp.curing.results import Measured
from looksharp.data.split import Data, Split
from looksharp.data.splits.files import keep_in_memory
from looksharp.evaluation import evaluate
from looksharp.interventions.division import PIECES
from looksharp.interventions.intervene import intervene
from looksharp.metrics.catalogue import on_topic
from looksharp.training.folder import Run

__all__ = ["curve_values", "in_memory", "measure", "measured_splits"]


def measured_splits(data: Data, proofs: Mapping[str, Split]) -> tuple[dict[str, Split], dict[str, Split]]:
    """Return the splits to evaluate on, and those to intervene on; small images are kept in memory."""
    splits = in_memory(data, {**data.tests, **proofs})
    return splits, {name: splits[name] for name in proofs}


def in_memory(data: Data, splits: Mapping[str, Split]) -> dict[str, Split]:
    """Return splits of a data set, those of small images kept in memory."""
    return keep_in_memory(replace(data, splits=dict(splits))).splits


def measure(
    name: str,
    description: str,
    run: Run,
    marked: int,
    splits: Mapping[str, Split],
    proofs: Mapping[str, Split],
    progress: bool = True,
    *,
    pieces: Mapping[str, Split] | None = None,
    ticks: int = 0,
) -> Measured:
    """Evaluate a run on some splits, and intervene on some of them; see `Measured`."""
    workers, pieces = run.config.training.workers, pieces or {}
    bars = {split: f"{name}, {split}" if progress else None for split in (*splits, *proofs, *pieces)}
    values = {
        split: evaluate(run.model, images, run.pixels, workers=workers, progress=bars[split]).values
        for split, images in splits.items()
    }
    found = {
        split: intervene(run.model, images, run.pixels, workers=workers, progress=bars[split])
        for split, images in proofs.items()
    }
    exchanged = {
        split: intervene(run.model, images, run.pixels, workers=workers, progress=bars[split], division=PIECES)
        for split, images in pieces.items()
    }
    return Measured(name, description, run, marked, values, found, exchanged, ticks)


def curve_values(found: Measured) -> dict[str, float]:
    """Return the values of the budget's curve: each split's main metric, and accuracy under exchanged surroundings."""
    values = {split: next(v[name] for name in on_topic("main") if name in v) for split, v in found.splits.items()}
    for proof in found.proof.values():
        values["exchanged"] = proof.values["exchanged_across"]
    return values
