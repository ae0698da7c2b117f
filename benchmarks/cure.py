"""What guidance does to a shortcut, over seeds: accuracy with and without the cue, and where the network looks.

Trains each method on biased digits, or on a folder that `looksharp compose` wrote, for equally many steps, evaluates
it on every test split and by interventions, and prints mean, standard deviation and the mean difference to plain
training. Every seed draws its own weights, order and guided images, and its own digits. Finished runs are kept in
--out and not trained again, so several calls with different seeds may run side by side and another one prints all.

"ticks" marks nothing: it groups the plain run's suspects, ticks as a shortcut the groups that the truth says show one
(see `_shows_cue`), and exchanges their regions. "ticks:own" and "ticks:spread" put something else in their place.
"propagated" gives every image a mark by a segmenter that learns the boxes, "propagated ticks" every image a piece: with
the groups that `cure` refuses left out, as `cure --propagate` does. "no_cue" is plain training on the same
digits with a patch that tells nothing: the ceiling.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.studies import add_study_flags, printed_study
from looksharp.curing.ticks import choose_ticks
from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data, Split
from looksharp.data.splits.files import keep_in_memory
from looksharp.data.ticked import TickedRegion, ticks_text
from looksharp.evaluation import evaluate
from looksharp.experiments.record import Values
from looksharp.experiments.trial import Trial, plan, train_trial
from looksharp.files import write_text
from looksharp.interventions.intervene import intervene
from looksharp.marks.runs import runs_mask
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import parse_objective
from looksharp.settings import settings_of
from looksharp.suspects.choosing import suspects
from looksharp.suspects.finding import find_groups
from looksharp.suspects.groups import read_groups, write_groups
from looksharp.training.folder import Run
from looksharp.training.settings import MarksConfig, NetworkConfig, OptimizationConfig, RunConfig, TrainingConfig

METHODS = {
    "plain": "",
    "no_cue": "",
    "class_balanced": "",
    "group_dro": "",
    "squared_error": "squared_error",
    "energy": "energy:3",
    "evidence": "evidence:3",
    "contrast": "contrast:3",
    "exchange": "background_exchange",
    "exchange+contrast": "background_exchange+contrast",
    "exchange+squared_error": "background_exchange+squared_error",
    "agreement:0.1": "agreement:0.1",
    "agreement:0.3": "agreement:0.3",
    "agreement": "agreement",
    "propagated": "agreement",
    "propagated:0.3": "agreement:0.3",
    "agreement+contrast": "agreement+contrast",
    "ticks": "cue_exchange",
    "ticks:own": "cue_exchange",
    "ticks:spread": "cue_exchange",
    "propagated ticks": "cue_exchange",
}
"""Name -> its choice of guidance; those without any are the baselines, and those of cue_exchange need no marks."""

_MEASURES = (
    "top1",
    "worst_group",
    "attention_inside",
    "exchanged_across",
    "background_gap",
    "object_only",
    "surroundings_only",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="biased_digits", help="biased_digits, or a folder with masks and groups")
    parser.add_argument("--rho", type=float, default=0.98)
    parser.add_argument("--marked", type=float, default=0.05, help="share of the training images, marked by boxes")
    parser.add_argument("--per_batch", type=int, default=32, help="marked images in a batch")
    parser.add_argument("--layer", default=None, help="whose maps guidance reads; found in the backbone if not given")
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--backbone", default="small")
    parser.add_argument("--epochs", type=int, default=12, help="of plain training; others take as many steps")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--augment", default="crop")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--methods", nargs="+", default=["plain", "contrast", "exchange", "agreement:0.3", "agreement"])
    add_study_flags(parser, Path("runs/cure"))
    options = parser.parse_args()
    folder = options.out / f"{Path(options.data).name}-{options.rho:g}-{options.backbone}-{options.marked:g}"
    by_ticks = [name for name in options.methods if METHODS[name] == "cue_exchange"]
    others = {name: _config(options, name) for name in options.methods if name not in by_ticks}
    trials = plan(others, options.seeds, folder)
    if by_ticks:
        for plain in plan({"plain": _config(options, "plain")}, options.seeds, folder):
            torch.set_num_threads(options.threads)
            ticked = _ticked(plain, _data(options.data, options.rho, plain.seed), folder / "ticks", by_ticks, options)
            trials += plan({name: _filled(config, name) for name, config in ticked.items()}, [plain.seed], folder)
    by_seed = sorted(trials, key=lambda trial: trial.seed)  # so that each seed's images are read once
    table = printed_study(by_seed, lambda trial: _data_of(trial, options), _measure, options)
    print(table.markdown())


def _data_config(name: str, rho: float) -> DataConfig:
    return DataConfig(name, settings={"rho": rho} if name == "biased_digits" else {})


@lru_cache(maxsize=1)
def _data(name: str, rho: float, seed: int) -> Data:
    return keep_in_memory(build_data(_data_config(name, rho), seed))


def _data_of(trial: Trial, options: argparse.Namespace) -> Data:
    """Return the images of a trial; every trial of a seed has the same test images, whatever it learns from."""
    data = _data(options.data, options.rho, trial.seed)
    if trial.config.data == _data_config(options.data, options.rho):
        return data
    learnt = keep_in_memory(build_data(trial.config.data, trial.seed)).splits
    return replace(data, splits=data.splits | {name: learnt[name] for name in ("train", "val")})


def _config(options: argparse.Namespace, name: str) -> RunConfig:
    guidance: list[Any] = []
    marks, per_batch, epochs = MarksConfig(), 0, options.epochs
    if METHODS[name]:
        per_batch = options.per_batch
        # Marked places lengthen an epoch: fewer epochs make as many steps.
        epochs = max(round(options.epochs * (options.batch_size - per_batch) / options.batch_size), 1)
        marks = MarksConfig("data", options.marked, marked_per_batch=per_batch, mark_boxes=True)
        if name.startswith("propagated"):  # nearly all images have a mark then, wherever they stand in a batch
            epochs = options.epochs
            marks = MarksConfig("data", options.marked, marked_per_batch=0, mark_boxes=True, propagate=True)
        if METHODS[name] == "cue_exchange":
            marks = MarksConfig(cues="", marked_per_batch=marks.marked_per_batch)  # named once they are found
        guidance = _guidance(METHODS[name], options.layer)
    return RunConfig(
        objective=parse_objective(["group_dro" if name == "group_dro" else "classification", *guidance]),
        data=_data_config(options.data, 0.0 if name == "no_cue" else options.rho),
        network=NetworkConfig(options.backbone),
        marks=marks,
        optimization=OptimizationConfig(
            options.optimizer, lr=options.lr, weight_decay=0.05 if options.optimizer == "adamw" else 5e-4
        ),
        training=TrainingConfig(
            epochs=epochs,
            batch_size=options.batch_size,
            augment=options.augment,
            balance="class" if name == "class_balanced" else "none",
            precision=options.precision,
            device=options.device,
        ),
    )


def _guidance(choice: str, layer: str | None) -> list[dict[str, dict[str, Any]]]:
    """The parts of a choice; losses on maps need features first, so they and their companions warm up."""
    parts = [] if choice == "none" else parse_objective(choice)
    warmup = 200 if {"energy", "evidence", "contrast"} & {part.name for part in parts} else 0
    given = {"warmup": warmup, "layer": layer}
    return [
        {p.name: {k: v for k, v in given.items() if k in settings_of(PARTS[p.name])} | dict(p.settings)} for p in parts
    ]


def _filled(config: RunConfig, name: str) -> RunConfig:
    """Return settings whose cue_exchange puts in a cue's place what the method's name says."""
    fill = name.partition(":")[2] or "moved"
    return replace(config, objective=parse_objective(["classification", {"cue_exchange": {"fill": fill}}]))


def _ticked(
    plain: Trial, data: Data, folder: Path, names: Sequence[str], options: argparse.Namespace
) -> dict[str, RunConfig]:
    """Group what a plain run reads, tick the groups that show a cue, and return settings that read their regions."""
    path = folder / f"seed-{plain.seed}.json"
    run, train = train_trial(plain, data, progress=False), data.splits["train"]
    found = folder / f"groups-{plain.seed}"
    if not (found / "groups.json").is_file():
        suspected = suspects(run, data, 2 * len(data.classes), seed=plain.seed, progress=False)
        write_groups(found / "groups.json", find_groups(run, data, suspected, seed=plain.seed, progress=False).groups)
    groups = {
        group.number: [TickedRegion(each.image, data.classes.index(each.label), each.runs) for each in group.regions]
        for group in read_groups(found)
    }
    ticks = [number for number, regions in groups.items() if regions and _shows_cue(train, regions, data.pixels.size)]
    images = sum(len(groups[number]) for number in ticks)
    print(f"seed {plain.seed}: {len(ticks)} of {len(groups)} groups ticked, {images} images", flush=True)
    write_text(path, ticks_text(train, data.pixels.size, {number: groups[number] for number in ticks}))
    configs = {}
    for name in names:
        config = _config(options, name)
        marks = replace(config.marks, cues=str(path), shortcut=ticks)
        if name.startswith("propagated"):
            used = choose_ticks(found, ticks, None, run, data, folder / f"used-{plain.seed}", propagate=True)
            print(used.note, flush=True)
            marks = used.settings(config.marks)
        configs[name] = replace(config, marks=marks)
    return configs


def _shows_cue(split: Split, regions: Sequence[TickedRegion], size: tuple[int, int]) -> bool:
    """Tell, by the truth, whether in most of a group's images the region covers more of the cue than of the object.

    Of a share each: a cue is covered whole where all of its pixels are in the region, an object likewise.
    """
    assert split.cues is not None
    assert split.marks is not None
    more = 0
    for region in regions:
        mask = torch.from_numpy(runs_mask(region.runs, size).copy())
        cue, strokes = (
            torch.stack([each for _, each in marks.of(region.image)]).any(0) for marks in (split.cues, split.marks)
        )
        more += bool(mask[cue].double().mean() > mask[strokes].double().mean())
    return more > len(regions) / 2


def _measure(trial: Trial, run: Run, data: Data) -> Values:
    """Measures of every test split, named SPLIT: MEASURE."""
    measured: Values = {}
    for place, (name, split) in enumerate(data.tests.items()):
        values = evaluate(run.model, split, data.pixels, batch_size=250).values
        if not place:  # the others show the same objects
            values = values | intervene(run.model, split, data.pixels, batch_size=250).values
        measured |= {f"{name}: {measure}": values[measure] for measure in _MEASURES if measure in values}
    return measured


if __name__ == "__main__":
    main()
