"""Measure a trained run for a recipe: each figure at the last and at the best epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from looksharp.attention.recording import logits_of
from looksharp.data.split import Data
from looksharp.evaluation import Evaluation, evaluate_run
from looksharp.evaluation.cue_test import cue_test
from looksharp.evaluation.subject import Subject
from looksharp.evaluation.suite import SUITES
from looksharp.experiments.record import Values
from looksharp.networks.profiling import profile
from looksharp.reproducing.figure import VALIDATION, Measure
from looksharp.reproducing.recipe import Recipe
from looksharp.reproducing.segmenting import segmented
from looksharp.training.folder import Run, load_run, read_config

__all__ = ["CHECKPOINTS", "CUE_FOLDERS", "figure_name", "measure_run"]

CHECKPOINTS = ("last", "best")
CUE_FOLDERS = ("without_cue", "cue_alone")
_TIMED_BATCH = 256  # WARN Table 2


def measure_run(
    recipe: Recipe,
    path: Path,
    data: Data,
    *,
    row: str | None = None,
    cue: Path | None = None,
    smoke: bool = False,
    device: str = "auto",
    workers: int = 2,
    progress: bool = True,
) -> Values:
    """Measure both checkpoints of a run.

    Beside the suites of `evaluate` there are "cost": "parameters" and "multiply_adds", in millions and thousands of
    millions, and "seconds", for the test images in batches of 256; "cue", see `cue_test`; "recall", the share of
    a class's test images in which it is found (its probability above one half; of one label, the highest); and "sec",
    the values of suite segmentation for a segmentation that is learnt from the run's last epoch, see `segmented`, at
    its own last and best epoch.

    Args:
        recipe: whose figures are wanted.
        path: the run folder.
        data: with its test splits.
        row: the run's row, whose seeds "sec" makes; by default settings if not given.
        cue: folder of the two folders of images that `cue_test` reads, without_cue and cue_alone.
        smoke: take no care in timing.
        device: where the network runs.
        workers: processes that read image files.
        progress: show a progress bar.

    Returns:
        `figure_name` -> the figure in the metric's unit, without those that are undefined; and "parameters", the
        network's number of parameters.

    Raises:
        ValueError: if the data lacks a split, class or value that is to be measured.
    """
    suites = tuple(name for name in SUITES if any(each.suite == name for each in recipe.measure.values()))
    if any(each.split == VALIDATION for each in recipe.measure.values()):
        data = replace(data, splits={**data.splits, VALIDATION: data.splits["val"]})
    figures: Values = {}
    learnt = _learnt(recipe, row, path, data, smoke, device, workers, progress)
    for checkpoint in CHECKPOINTS:
        run = load_run(path, checkpoint, device)
        figures["parameters"] = sum(each.numel() for each in run.model.parameters())
        found: Mapping[str, Evaluation] = {}
        if suites:
            found = evaluate_run(
                run, data=data, checkpoint=checkpoint, suites=suites, workers=workers, progress=progress
            )
        own = _own(recipe, run, data, cue, smoke, workers, progress)
        own |= {m: learnt[checkpoint].get(each.value) for m, each in recipe.measure.items() if each.suite == "sec"}
        for metric, each in recipe.measure.items():
            value = own[metric] if metric in own else _read(each, found, metric)
            if value is not None:
                figures[figure_name(metric, checkpoint)] = each.shown(value)
    return figures


def _learnt(
    recipe: Recipe,
    row: str | None,
    path: Path,
    data: Data,
    smoke: bool,
    device: str,
    workers: int,
    progress: bool,
) -> dict[str, dict[str, float]]:
    """Return the values of a segmentation at each of its checkpoints, where the recipe measures one."""
    if not any(each.suite == "sec" for each in recipe.measure.values()):
        return {}
    seeds = {} if row is None else recipe.rows[row].seeds
    seed = read_config(path).training.seed
    return segmented(path, data, seeds, seed, smoke=smoke, device=device, workers=workers, progress=progress)


def figure_name(metric: str, checkpoint: str) -> str:
    """Return the name under which a record holds the figure of a metric at a checkpoint."""
    return f"{metric}, {checkpoint} epoch"


def _read(measure: Measure, found: Mapping[str, Evaluation], metric: str) -> float | None:
    """Read a value off evaluations; None if it is undefined on these images."""
    split = next(iter(found)) if measure.split is None else measure.split
    if split not in found:
        raise ValueError(f"{metric} is measured on split {split!r}; the data has {', '.join(found)}")
    if measure.of_class is None:
        return found[split].values.get(measure.value)
    classes = found[split].tables["classes"]
    if measure.of_class not in classes:
        raise ValueError(f"{metric} is of class {measure.of_class!r}, which is not one of the data's")
    value: float | None = found[split].tables["per_class"][measure.value][classes.index(measure.of_class)]
    return value


def _own(
    recipe: Recipe, run: Run, data: Data, cue: Path | None, smoke: bool, workers: int, progress: bool
) -> dict[str, float | None]:
    """Measure the recipe's own suites, cost, cue and recall; return the value of each metric."""
    wanted = {
        name: [m for m, each in recipe.measure.items() if each.suite == name] for name in ("cost", "cue", "recall")
    }
    values: dict[str, float | None] = {}
    if wanted["cost"]:
        images = len(next(iter(data.tests.values())))
        costs = profile(run.model, run.pixels.size, batch_size=1 if smoke else _TIMED_BATCH, repeats=1 if smoke else 10)
        known = {
            "parameters": costs.parameters / 1e6,
            "multiply_adds": costs.flops / 2e9,
            "seconds": costs.seconds_per_image * images,
        }
        values |= {metric: known[recipe.measure[metric].value] for metric in wanted["cost"]}
    if wanted["cue"]:
        if recipe.cue is None or cue is None:
            values |= dict.fromkeys(wanted["cue"])
        else:
            answers = cue_test(run, recipe.cue, *(cue / name for name in CUE_FOLDERS), progress=progress)
            values |= {metric: answers[recipe.measure[metric].value] for metric in wanted["cue"]}
    for metric in wanted["recall"]:
        measure = recipe.measure[metric]
        tests = data.tests
        split = measure.split or next(iter(tests))
        if split not in tests or measure.of_class not in run.classes:
            raise ValueError(f"{metric} is of class {measure.of_class!r} and split {split!r}, which {data.name} lacks")
        subject = Subject(run.model, tests[split], run.pixels, workers=workers)
        values[metric] = _recall(subject, run.classes.index(measure.of_class), run.multilabel)
    return values


@torch.no_grad()
def _recall(subject: Subject, label: int, multilabel: bool) -> float | None:
    right = total = 0
    for batch in subject.batches():
        logits = logits_of(subject.model(batch.image))
        positive = logits[:, label] > 0 if multilabel else logits.argmax(1) == label
        present = batch.target[:, label] > 0.5 if multilabel else batch.target == label
        right, total = right + int((positive & present).sum()), total + int(present.sum())
    return right / total if total else None
