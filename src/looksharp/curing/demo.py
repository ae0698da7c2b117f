"""Demonstrate cures: a classifier learns a shortcut, ticks or boxes point at it, and interventions show the rest."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from looksharp.curing.conclusion import conclude, in_settings
from looksharp.curing.measured import measure, measured_splits
from looksharp.curing.plan import CURE, cured
from looksharp.curing.results import Measured, Words
from looksharp.curing.ticks import Ticks, choose_ticks
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.experiments.trial import Trial, run_folder, train_trial
from looksharp.networks import SmallNet
from looksharp.objectives.parsing import parse_objective
from looksharp.propagation.keeping import quality_of
from looksharp.suspects.choosing import suspects
from looksharp.suspects.finding import find_groups
from looksharp.suspects.groups import Groups, read_groups
from looksharp.suspects.writing import write_suspects
from looksharp.training.folder import Run
from looksharp.training.settings import MarksConfig, OptimizationConfig, RunConfig, TrainingConfig

__all__ = ["METHODS", "demo"]

_BASE = RunConfig(
    data=DataConfig("biased_digits", settings={"rho": 0.98, "test": 1000}),
    optimization=OptimizationConfig(lr=0.1, schedule="cosine"),
    training=TrainingConfig(epochs=8, batch_size=64, device="cpu"),
)

_BOXES = MarksConfig("data", marked=60, mark_boxes=True)
_TICKS = MarksConfig(cues="", marked_per_batch=0)  # the file is named once there are groups

METHODS: dict[str, tuple[str, RunConfig]] = {
    "plain": ("Trained on class labels alone.", _BASE),
    "ticks": (
        "No box is drawn. looksharp suspects groups what the plain classifier looks at, and groups are ticked as a "
        "shortcut: pieces like theirs are exchanged between all images, and the classifier must answer the same.",
        cured(_BASE, _TICKS, (), cue_guidance={CURE.cue_guidance: {"most": 32}}, epochs=8),
    ),
    "boxes": (
        "Boxes around the digits of 60 images. A small segmenter learns them and finds the digit in the others: digits "
        "are exchanged between the surroundings of all images, and the classifier must answer the same.",
        cured(_BASE, replace(_BOXES, propagate=True, marked_per_batch=0), CURE.guidance, epochs=5),
    ),
    "GAIN_ext": (
        "The same 60 boxes as published: what the network looks at is hidden, and nothing of the class must be left; "
        "and a box tells where the map belongs.",
        replace(
            _BASE,
            objective=parse_objective("gain+squared_error"),
            marks=_BOXES,
            training=replace(_BASE.training, epochs=4),
        ),
    ),
}
"""Name -> one sentence and the settings of each training that the demonstration compares; the first is uncured."""

_CURE = "boxes"
_LOOKED_AT = 2000  # training images whose regions are found
_SHOWN = 20  # images on the sheet
_STEPS = 8000  # of plain training that take as long as the whole demonstration, as measured


def demo(
    out: str | Path, seed: int = 0, *, train_size: int = 6000, epochs: int | None = None, progress: bool = True
) -> Path:
    """Train every method on digits with a false cue, evaluate and intervene, and write report.html and results.json.

    Groups of suspects are ticked by their test alone, as nobody looks at the sheet: all whose piece decides the answer.

    Args:
        out: folder for the report; the run folders and the page of suspects lie below it.
        seed: of everything drawn at random.
        train_size: training images.
        epochs: passes through them; the methods' own numbers if not given.
        progress: show progress bars, and first an estimate of the time.

    Returns:
        The report's path.

    Raises:
        ValueError: if `out` holds runs of other settings; an interrupted demonstration goes on.
    """
    out = Path(out)
    if progress:
        minutes = _STEPS * _seconds_a_step() / 60
        print(f"About {max(round(minutes), 1)} minutes on this machine.", file=sys.stderr, flush=True)
    images = replace(_BASE.data, settings=_BASE.data.settings | {"train": train_size})
    data = build_data(images, seed)
    # There the patch follows the class: what the classifier makes of it shows.
    splits, proofs = measured_splits(data, {"biased": data.splits["biased"]})
    columns: list[Measured] = []
    ticks: Ticks | None = None
    for name, (sentence, method) in METHODS.items():
        if progress:
            print(f"{name}: {sentence}", file=sys.stderr, flush=True)
        training = replace(method.training, seed=seed, epochs=epochs or method.training.epochs)
        config = replace(method, data=images, training=training)
        ticked = config.marks.cues is not None
        if ticked:
            ticks = _ticks(columns[0].run, data, out, progress)
            config = replace(config, marks=ticks.settings(config.marks))
        run = train_trial(Trial(name, config, run_folder(out / "runs", name)), data, progress)
        groups = len(ticks.shortcut) if ticked and ticks else 0
        boxes = int(config.marks.marked or 0)  # the run counts those that it propagated too
        columns.append(measure(name, sentence, run, boxes, splits, proofs, progress, ticks=groups))
    assert ticks is not None
    found = conclude(
        out,
        columns,
        data,
        (proofs, {}),
        Words(
            "Find the shortcut, point at it, retrain, prove it",
            in_settings(next(each for each in columns if each.name == _CURE).run.config, data),
            _intro(columns, ticks, len(data.splits["train"])),
            f"{_HOW_TICKED} {ticks.note} {quality_of(run_folder(out / 'runs', 'boxes'))}",
            split_notes={
                "biased": "The patch has the colour of the digit's class, as in training.",
                "unbiased": "The same images; the patch has a random colour.",
                "conflicting": "The same images; the patch has another class's colour.",
            },
        ),
        cure=_CURE,
    )
    return found.report


_HOW_TICKED = (
    "Nobody looked at the sheet of suspects (suspects/index.html): every group was ticked whose piece, pasted onto "
    "images of other classes, decides the answer. That test finds what decides, a shortcut or an object; a person "
    "would leave out groups that show the object."
)


def _seconds_a_step() -> float:
    """Time a training step of the network on 64 images, the median of five."""
    with torch.random.fork_rng(devices=[]):
        network, images = SmallNet(10), torch.randn(64, 3, 48, 48)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        network(images).logsumexp(1).mean().backward()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def _ticks(plain: Run, data: Data, out: Path, progress: bool) -> Ticks:
    """Group what the plain classifier looks at, write the page of suspects, and tick the groups that decide."""
    folder, seed = out / "suspects", plain.config.training.seed
    if not (folder / "groups.json").is_file():
        found = suspects(
            plain, data, min(_SHOWN, len(data.splits["train"])), seed=seed, most=_LOOKED_AT, progress=progress
        )
        tested = find_groups(plain, data, found, keep=folder / "regions", seed=seed, progress=progress)
        write_suspects(found, data, folder, tested=tested)
    ticked = _deciding(read_groups(folder))
    return choose_ticks(folder, ticked, None, plain, data, out, propagate=True, progress=progress)


def _deciding(groups: Groups) -> Sequence[int]:
    """Return numbers of the groups whose piece decides the answer elsewhere."""
    return [group.number for group in groups if group.regions and group.verdict == "decides"]


def _intro(columns: Sequence[Measured], ticks: Ticks, images: int) -> str:
    plain, by_ticks, by_boxes, _ = ([values.splits[s]["top1"] for s in ("biased", "unbiased")] for values in columns)
    boxes = columns[2].marked
    return (
        f"Handwritten digits with a coloured patch beside them. Trained plainly, the classifier is right on "
        f"{plain[0]:.0%} of images like those it was trained on, and on {plain[1]:.0%} of the same images once the "
        f"patch has a random colour: it reads the patch. With {len(ticks.shortcut)} groups of {images:,} training "
        f"images ticked as a shortcut, and no box drawn, it is right on {by_ticks[0]:.0%} and {by_ticks[1]:.0%}; with "
        f"boxes on {boxes} images, propagated to the others, on {by_boxes[0]:.0%} and {by_boxes[1]:.0%}."
    )
