"""Does it pay to let `looksharp suspects` choose which images to mark? Accuracy once the cue says nothing, over seeds.

For each seed, a plain classifier is trained on biased digits. Then n training images are chosen, by `suspects` from
that classifier, at random, or at random with as many of each class; exactly those are guided by boxes around their
digits in a new training, and accuracy is measured where the patch's colour is random. Prints mean and standard
deviation, and the mean difference to the first choice. Finished runs are kept in --out and not trained again.

    python -m benchmarks.suspects --settings objective=classification+agreement+contrast backbone=small_deep
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
import yaml

from benchmarks.studies import add_study_flags, printed_study
from looksharp.data.build import build_data
from looksharp.data.split import Data
from looksharp.evaluation import evaluate
from looksharp.experiments.record import Values
from looksharp.experiments.trial import Trial, plan
from looksharp.suspects import suspects
from looksharp.training.folder import Run, load_run
from looksharp.training.settings import MarksConfig, RunConfig

CHOICES = ("random", "balanced", "suspects")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rho", type=float, nargs="+", default=[0.98, 1.0])
    parser.add_argument("-n", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--layer", default=None, help="the layer that suspects reads; the last one if not given")
    parser.add_argument(
        "--settings", nargs="*", default=[], metavar="NAME=VALUE", help="of the runs, named as in looksharp train"
    )
    add_study_flags(parser, Path("runs/suspects"))
    options = parser.parse_args()
    given = {name: yaml.safe_load(value) for name, value in (pair.split("=", 1) for pair in options.settings)}
    defaults = {"data": "biased_digits", "epochs": 14, "device": options.device, "workers": 0}
    for rho in options.rho:
        config = RunConfig.from_flat(defaults | given | {"biased_digits": {"rho": rho}})
        chosen = {f"{choice}, {n}": config for choice in options.choices for n in options.n}
        marked = {name: replace(each, marks=replace(each.marks, marks="data")) for name, each in chosen.items()}
        variants = {"plain": replace(config, marks=MarksConfig())} | marked
        trials = plan(variants, options.seeds, options.out / f"rho{rho:g}")
        print(f"rho {rho:g}")
        print(printed_study(trials, lambda trial: _trial_data(trial, options.layer), _measure, options).markdown())


@lru_cache(maxsize=2)
def _data(rho: float, seed: int) -> Data:
    return build_data(RunConfig.from_flat({"data": "biased_digits", "biased_digits": {"rho": rho}}).data, seed)


def _trial_data(trial: Trial, layer: str | None) -> Data:
    """The data of a trial: with boxes on exactly the images that its choice takes."""
    data = _data(trial.config.data.settings["rho"], trial.seed)
    choice, _, count = trial.variant.partition(", ")
    if not count:
        return data
    plain = trial.folder.parent.parent / "plain" / f"seed-{trial.seed}"
    reader = load_run(plain, device=trial.config.training.device)
    return _boxed(data, _choose(choice, int(count), reader, data, trial.seed, layer))


def _choose(choice: str, n: int, reader: Run, data: Data, seed: int, layer: str | None) -> list[int]:
    if choice == "suspects":
        chosen = suspects(reader, data, n, layer=layer, batch_size=250, seed=seed, progress=False).chosen
        return [suspect.index for suspect in chosen]
    targets = data.splits["train"].targets
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(seed))
    if choice == "random":
        return order[:n].tolist()
    turns = torch.empty_like(order)
    for label in targets.unique():
        own = order[targets[order] == label]
        turns[own] = torch.arange(len(own))  # an image is its class's first, second, ...
    return order[turns[order].argsort(stable=True)][:n].tolist()


def _boxed(data: Data, indices: list[int]) -> Data:
    """The data with boxes around the objects of exactly these training images."""
    split = data.splits["train"]
    assert split.marks is not None
    boxes = replace(split, marks=split.marks.restricted(indices).as_boxes())
    return replace(data, splits=data.splits | {"train": boxes})


def _measure(trial: Trial, run: Run, data: Data) -> Values:
    """Accuracy where the cue says nothing."""
    found = evaluate(run.model, data.splits["unbiased"], data.pixels, suites=["classification"], batch_size=250)
    return {"unbiased: top1": found.values["top1"]}


if __name__ == "__main__":
    main()
