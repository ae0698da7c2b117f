"""Measure a network on a split, by any of the suites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TypedDict, Unpack

import torch
from torch import nn
from tqdm import tqdm

from looksharp.attention.finite import check_logits, check_weights
from looksharp.attention.mechanisms import Mechanism, check_asked
from looksharp.attention.recording import Recording, logits_of, record
from looksharp.attention.stages import last_stages
from looksharp.data.split import Pixels, Split
from looksharp.evaluation.result import Evaluation, merge
from looksharp.evaluation.subject import Measure, Seen, Subject
from looksharp.evaluation.suite import SUITES, Separate, Shared, check_suites, forwards
from looksharp.objectives.base import Forward
from looksharp.processes.place import is_first, processes
from looksharp.training.folder import Run

__all__ = ["Batching", "check_layers", "evaluate", "measure_suites"]


class Batching(TypedDict, total=False):
    """Options of how images come in batches, which change no result."""

    batch_size: int
    workers: int


def evaluate(
    model: nn.Module | Run,
    split: Split,
    pixels: Pixels | None = None,
    *,
    suites: Sequence[str] = ("classification", "attention"),
    mechanism: str | Mechanism = "grad_cam",
    layers: Sequence[str] | None = None,
    crf: bool = True,
    progress: str | None = None,
    classes: Sequence[str] | None = None,
    **batching: Unpack[Batching],
) -> Evaluation:
    """Measure `model` on a split: how well it classifies, and where it looks.

    Memory is bounded except for a few numbers per image; batch size and order change values only by rounding. Of
    several processes (`torch.distributed`) each measures its share of the images, and all return the results of all.

    Args:
        model: the classifier, in the mode to measure it in, or a run; its first parameter's device is used.
        split: images, with masks of their objects where known.
        pixels: the way from their pixels to a network's input; of a run, its own if not given.
        suites: names from `SUITES`, or "all"; see there for what each measures and costs.
        mechanism: mechanism that makes the maps. One that reads no layers has one map, which then stands for both.
        layers: (inner, last); found in the network if not given.
        crf: also measure a segmentation's masks once a CRF has sharpened them, which takes seconds for a photograph.
        progress: title of a progress bar; none if not given.
        classes: class names, for tables; a run's own, or numbers, if not given.
        batching: batch_size (64 images a forward) and workers (0 processes that read image files); they change nothing
            but speed and memory.

    Returns:
        The values, values of every image, and tables of all suites.

    Raises:
        ValueError: if a suite is not known, `layers` are not two, not in the network, or not read by the mechanism,
            `classes` are not the network's, or the network's weights, answers or maps are not finite.

    Example:
        >>> from looksharp.data.sets.synthetic import digits
        >>> from looksharp.networks import SmallNet
        >>> data = digits(train=1, val=1, test=8)
        >>> found = evaluate(SmallNet(10).eval(), data.splits["test"], data.pixels, suites=["classification"])
        >>> found.per_image["top1"].shape
        torch.Size([8])

    """
    suites = check_suites(suites)
    check_asked(mechanism, layers=layers is not None)
    network = model.model if isinstance(model, Run) else model
    if isinstance(model, Run):
        pixels, classes = pixels or model.pixels, classes or model.classes
    if pixels is None:
        raise ValueError("pixels must say how images become the input of a model that is no run: give looksharp.Pixels")
    size = batching.get("batch_size", 64), batching.get("workers", 0)
    subject = Subject(network, split, pixels, mechanism, check_layers(layers), *size, classes, crf)
    total = len(split) * forwards(suites)
    with tqdm(
        total=total,
        desc=progress,
        unit=" forwards",
        unit_scale=True,
        disable=progress is None or not is_first(),
        leave=False,
    ) as bar:
        return merge(measure_suites(subject, suites, bar.update).values())


def check_layers(layers: Sequence[str] | None) -> tuple[str, str] | None:
    """Return the two names, or None.

    Raises:
        ValueError: if there are not two.
    """
    if layers is None:
        return None
    if len(layers) != 2:
        raise ValueError(f"layers must name two, the inner one and the last; got {', '.join(layers) or 'none'}")
    return layers[0], layers[1]


def measure_suites(
    subject: Subject, suites: Sequence[str], advance: Callable[[float], object]
) -> dict[str, Evaluation]:
    """Return each suite's evaluation, in the order of `suites`.

    Args:
        subject: the subject to measure.
        suites: checked names.
        advance: called with the number of forwards done, about `forwards` per image.

    Raises:
        ValueError: if weights, answers or maps are not finite.
    """
    if suites:
        check_weights(subject.model)
    sharing = processes()  # each of which advances as this one does
    chosen = {name: SUITES[name] for name in suites}
    shared = {name: suite for name, suite in chosen.items() if isinstance(suite, Shared)}
    found = _measure_shared(subject, shared, lambda done: advance(sharing * done))
    for name, suite in chosen.items():
        if isinstance(suite, Separate):
            found[name] = suite.measure(subject, lambda done: advance(sharing * done))
    return found


def _measure_shared(
    subject: Subject, suites: dict[str, Shared], advance: Callable[[float], object]
) -> dict[str, Evaluation]:
    """Run one forward of each image for all suites that read it."""
    if not suites:
        return {}
    measures: dict[str, Measure] = {}
    cost, reads_maps = forwards(suites), any(suite.reads_maps for suite in suites.values())
    for batch in subject.batches():
        layers = (subject.layers or check_layers(last_stages(subject.model, batch.image))) if reads_maps else None
        with torch.no_grad(), record(subject.model, layers) if layers else nullcontext(Recording(())) as features:
            output = subject.model(batch.image)
        seen = Seen(subject, Forward(subject.model, batch, output, logits_of(output), features), layers)
        check_logits(seen.forward.logits)
        measures = measures or {n: suite.start(subject, seen.logits.shape[1]) for n, suite in suites.items()}
        for measure in measures.values():
            measure.update(seen)
        advance(cost * len(batch))
    return {name: measure.compute() for name, measure in measures.items()}
