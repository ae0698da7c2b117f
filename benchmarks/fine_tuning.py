"""A cure against its steps: from the run's weights at a tenth and at all of its learning rate, and trained anew.

60 boxes are propagated once for all trainings. A row is named after where it starts and its share of the plain
training's steps.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from benchmarks.studies import add_study_flags, printed_study
from looksharp.curing.plan import cured
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.data.splits.files import keep_in_memory
from looksharp.evaluation import evaluate
from looksharp.experiments.record import Values
from looksharp.experiments.trial import Trial, plan, train_trial
from looksharp.interventions.intervene import intervene
from looksharp.propagation.keeping import share
from looksharp.training.folder import Run
from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

_FACTORS = {"lr x 0.1": 0.1, "lr x 1": 1.0, "anew": None}
_MEASURES = ("exchanged_across", "background_gap", "object_only", "surroundings_only")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rho", type=float, default=1.0)
    parser.add_argument("--marked", type=float, default=0.01, help="share of the training images, marked by boxes")
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--epochs", type=int, default=20, help="of plain training")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0], help="of these epochs")
    parser.add_argument("--precision", default="32-true")
    add_study_flags(parser, Path("runs/fine-tuning"), seeds=(0,))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plain = RunConfig(
        data=DataConfig("biased_digits", settings={"rho": options.rho}),
        network=NetworkConfig(options.backbone),
        optimization=OptimizationConfig(lr=0.1, weight_decay=5e-4),
        training=TrainingConfig(
            epochs=options.epochs,
            batch_size=64,
            augment="crop",
            precision=options.precision,
            device=options.device,
        ),
    )
    folder = options.out / f"{options.backbone}-{options.rho:g}"
    trials: list[Trial] = []
    for before in plan({"plain": plain}, options.seeds, folder):
        train_trial(before, _data(options.rho, before.seed), progress=False)
        trials += [before, *plan(_variants(before, options), [before.seed], folder)]

    def images(trial: Trial) -> Data:
        first = next(each for each in trials if each.seed == trial.seed and each.config.marks.propagate)
        if trial.config.marks.propagate and trial != first:
            share(first.folder, trial.folder)
        return _data(options.rho, trial.seed)

    print(printed_study(trials, images, _measure, options).markdown())


def _variants(before: Trial, options: argparse.Namespace) -> dict[str, RunConfig]:
    """Return the settings of every cure of a run, by name."""
    marks = MarksConfig("data", options.marked, marked_per_batch=0, mark_boxes=True, propagate=True)
    weights = str(before.folder / "model.safetensors")
    found = {}
    for name, factor in _FACTORS.items():
        for part in options.shares:
            epochs = max(round(part * options.epochs), 1)
            config = cured(before.config, marks, epochs=epochs, weights=None if factor is None else weights)
            rate = (1.0 if factor is None else factor) * before.config.optimization.lr
            found[f"{name}, {part:g}"] = replace(config, optimization=replace(config.optimization, lr=rate))
    return found


@lru_cache(maxsize=1)
def _data(rho: float, seed: int) -> Data:
    return keep_in_memory(build_data(DataConfig("biased_digits", settings={"rho": rho}), seed))


def _measure(trial: Trial, run: Run, data: Data) -> Values:
    """Accuracy on every test split, and interventions on the first; the others show the same digits."""
    measured: Values = {}
    for name, split in data.tests.items():
        if not measured:
            found = intervene(run.model, split, data.pixels, batch_size=250).values
            measured |= {measure: found[measure] for measure in _MEASURES}
        measured[name] = evaluate(run.model, split, data.pixels, batch_size=250).values["top1"]
    return measured


if __name__ == "__main__":
    main()
