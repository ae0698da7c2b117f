"""Demonstrate a cure: a classifier learns a shortcut, a few boxes are drawn, and interventions show what is left."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from looksharp.curing.conclusion import conclude, in_settings
from looksharp.curing.measured import measure, measured_splits
from looksharp.curing.plan import CURE, cured, marked_places
from looksharp.curing.results import Measured, Words
from looksharp.data.build import DataConfig, build_data
from looksharp.experiments.trial import Trial, run_folder, train_trial
from looksharp.objectives.parsing import parse_objective
from looksharp.training.facts import read_facts
from looksharp.training.settings import MarksConfig, OptimizationConfig, RunConfig, TrainingConfig

__all__ = ["METHODS", "demo"]

_BASE = RunConfig(
    data=DataConfig("biased_digits", settings={"rho": 0.98}),
    optimization=OptimizationConfig(lr=0.1, schedule="cosine"),
    training=TrainingConfig(epochs=14, batch_size=64, device="cpu"),
)

_BOXES = MarksConfig("data", marked=0.05, mark_boxes=True)

METHODS: dict[str, tuple[str, RunConfig]] = {
    "plain": ("Trained on class labels alone.", _BASE),
    "GAIN_ext": (
        "As published: what the network looks at is hidden, and nothing of the class must be left; and for one image "
        "in twenty a box around the digit tells where the map belongs.",
        replace(_BASE, objective=parse_objective("gain+squared_error"), marks=_BOXES),
    ),
    "cure": (
        "The same boxes: digits are exchanged between the surroundings of the boxed images, and the classifier must "
        "answer the same.",
        cured(_BASE, replace(_BOXES, marked_per_batch=marked_places(_BASE)), CURE.guidance, epochs=10),
    ),
}
"""Name -> one sentence and the settings of each training that the demonstration compares; the first is uncured."""


def demo(
    out: str | Path, seed: int = 0, *, train_size: int = 6000, epochs: int | None = None, progress: bool = True
) -> Path:
    """Train every method on digits with a false cue, evaluate and intervene, and write report.html and results.json.

    Args:
        out: folder for the report; the run folders lie below it.
        seed: of everything drawn at random.
        train_size: training images.
        epochs: passes through them; the methods' own numbers if not given.
        progress: show progress bars.

    Returns:
        The report's path.

    Raises:
        ValueError: if `out` holds runs of other settings; an interrupted demonstration goes on.
    """
    out = Path(out)
    images = replace(_BASE.data, settings=_BASE.data.settings | {"train": train_size})
    data = build_data(images, seed)
    # There the patch follows the class: what the classifier makes of it shows.
    splits, proofs = measured_splits(data, {"biased": data.splits["biased"]})
    columns = []
    for name, (sentence, method) in METHODS.items():
        if progress:
            print(f"{name}: {sentence}", file=sys.stderr, flush=True)
        training = replace(method.training, seed=seed, epochs=epochs or method.training.epochs)
        config = replace(method, data=images, training=training)
        run = train_trial(Trial(name, config, run_folder(out / "runs", name)), data, progress)
        marked = read_facts(run.folder).marked
        columns.append(measure(name, sentence, run, marked, splits, proofs, progress))
    found = conclude(
        out,
        columns,
        data,
        (proofs, {}),
        Words(
            "Find the shortcut, mark a few images, retrain, prove it",
            in_settings(columns[-1].run.config, data),
            _intro(columns[0], columns[-1], len(data.splits["train"])),
            split_notes={
                "biased": "The patch has the colour of the digit's class, as in training.",
                "unbiased": "The same images; the patch has a random colour.",
                "conflicting": "The same images; the patch has another class's colour.",
            },
        ),
    )
    return found.report


def _intro(plain: Measured, cure: Measured, images: int) -> str:
    before, after = ([values.splits[s]["top1"] for s in ("biased", "unbiased")] for values in (plain, cure))
    return (
        f"Handwritten digits with a coloured patch beside them. Trained plainly, the classifier is right on "
        f"{before[0]:.0%} of images like those it was trained on, and on {before[1]:.0%} of the same images once the "
        f"patch has a random colour: it reads the patch. With boxes drawn on {cure.marked:,} of its {images:,} "
        f"training images it is right on {after[0]:.0%} and {after[1]:.0%}."
    )
