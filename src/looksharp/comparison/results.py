"""Findings of a comparison: numbers for tables, and images with maps to look at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from looksharp.drawing.panel import Panel
from looksharp.evaluation.tables import ConfusedPair
from looksharp.experiments.differences import Entry

__all__ = ["Comparison", "Cost", "Gallery", "MethodFacts", "Projection", "Scene"]


@dataclass(frozen=True)
class Cost:
    """Cost of a method; NaN where unknown.

    Attributes:
        seconds: of training, mean over seeds.
        seconds_std: its standard deviation.
        epochs: passes through the training images, mean over seeds.
        parameters: of the network.
        flops: of one image's forward.
        seconds_per_image: of one image's forward.
        score: name of the validation score.
        score_then: its mean over seeds when the fastest method had ended; see `training_costs`.
        epochs_then: how many epochs the method had done by then.
    """

    seconds: float = math.nan
    seconds_std: float = math.nan
    epochs: float = math.nan
    parameters: float = math.nan
    flops: float = math.nan
    seconds_per_image: float = math.nan
    score: str = ""
    score_then: float = math.nan
    epochs_then: float = math.nan


@dataclass(frozen=True)
class MethodFacts:
    """A method in the report.

    Attributes:
        name: short, unique.
        runs: its run folders.
        seeds: theirs.
        settings: those in which the compared methods differ.
        cost: what it takes.
        curves: for each run, quantity -> value per epoch; "epoch" and "seconds" (from the start) among them.
    """

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    settings: dict[str, Any]
    cost: Cost
    curves: tuple[dict[str, list[float]], ...]


@dataclass(frozen=True)
class Comparison:
    """All numbers of a comparison; the first method is the one that the others are held against.

    Attributes:
        data: what was classified.
        classes: class names.
        images: test split -> number of images.
        shown: the split that pictures are taken from.
        methods: two or more.
        entries: every metric of every method.
        procedure: what was computed, in words.
        separation: split -> method -> its KS chart, of the last epoch, mean over seeds.
        confused_pairs: method -> pairs of classes on the shown split, most confused first: "true", "taken" (names)
            and "count".
        versions: package -> version.
    """

    data: str
    classes: tuple[str, ...]
    images: dict[str, int]
    shown: str
    methods: tuple[MethodFacts, ...]
    entries: tuple[Entry, ...]
    procedure: str
    separation: dict[str, dict[str, dict[str, Any]]]
    confused_pairs: dict[str, list[ConfusedPair]]
    versions: dict[str, str]

    def of(self, checkpoint: str, metric: str) -> list[Entry]:
        """Return the entries of one metric."""
        return [e for e in self.entries if (e.checkpoint, e.metric) == (checkpoint, metric)]


@dataclass(frozen=True, eq=False)
class Scene:
    """One image, and a row of maps for each method.

    Attributes:
        name: of its file, without an ending.
        title: what the image shows, and why it is here.
        image: colours (3, H, W) in [0, 1].
        outline: mask (H, W) of the object, where known.
        rows: method -> maps, all of a row on one scale.
    """

    name: str
    title: str
    image: Tensor
    outline: Tensor | None
    rows: dict[str, tuple[Panel, ...]]


@dataclass(frozen=True, eq=False)
class Projection:
    """Images as points: `points` (N, 2) and `labels` (N,)."""

    points: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Gallery:
    """Pictures of a comparison; see `Scene`.

    Attributes:
        changed: other method -> kind of change, in words -> images where the true class gained or lost most.
        confused: images of the first method's most confused pairs.
        layers: images seen at the inner layer and at the last.
        projections: method -> t-SNE of the features before the classifier.
    """

    changed: dict[str, dict[str, list[Scene]]] = field(default_factory=dict)
    confused: list[Scene] = field(default_factory=list)
    layers: list[Scene] = field(default_factory=list)
    projections: dict[str, Projection] = field(default_factory=dict)
