"""The suite "interventions": accuracy once objects' surroundings are exchanged or gone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from looksharp.evaluation.result import Evaluation
from looksharp.evaluation.subject import Subject
from looksharp.evaluation.suite import SUITES, Separate
from looksharp.evaluation.tables import InterventionTable
from looksharp.interventions.intervene import INTERVENTIONS, intervene
from looksharp.metrics.catalogue import METRICS, Metric
from looksharp.processes.place import own_places

__all__ = ["interventions"]

_FORWARDS = 5  # as it is, alone, gone, exchanged within the class and across


def interventions(subject: Subject, advance: Callable[[float], object]) -> Evaluation:
    """Measure accuracy on objects with known masks under interventions; see `intervene`.

    Values and values of every image: each of `INTERVENTIONS`. Table "interventions": "intervals", "chance" and
    "left_out" as there, and "images", the number used. Nothing if no mask is known.

    Args:
        subject: the subject to measure.
        advance: called with the number of forwards done.
    """
    split, shared = subject.split, len(own_places(len(subject.split)))
    if split.marks is None or not len(split.marks):
        advance(_FORWARDS * shared)
        return Evaluation()
    found = intervene(subject.model, split, subject.pixels, batch_size=subject.batch_size, workers=subject.workers)
    advance(_FORWARDS * shared)
    per_image = {}
    for name, outcomes in found.outcomes.items():
        per_image[name] = torch.full((len(split),), torch.nan)
        per_image[name][found.images] = outcomes.float()
    details: InterventionTable = {
        "intervals": {name: list(interval) for name, interval in found.intervals.items()},
        "chance": found.chance,
        "left_out": found.left_out,
        "images": len(found.images),
    }
    return Evaluation(dict(found.values), per_image, {"interventions": details})


SUITES.add(
    "interventions",
    Separate(
        f"{_FORWARDS} forwards for each object with a mask",
        interventions,
        _FORWARDS,
        needs="masks of objects",
        place=6,
    ),
)
for _name, (_label, _better) in INTERVENTIONS.items():
    METRICS.add(_name, Metric(_label, _better, percent=True))
