"""Retrain a run with a few marked images or ticked groups, and prove by intervention that its shortcut is gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from looksharp.curing.budget import Budget, check_budget, plan_budget
from looksharp.curing.conclusion import CEILING, conclude, in_settings
from looksharp.curing.footing import footing
from looksharp.curing.marks import DividedMarks, choose_marks, other_splits, provable
from looksharp.curing.measured import curve_values, in_memory, measure, measured_splits
from looksharp.curing.pieces import piece_splits
from looksharp.curing.plan import (
    Treatment,
    baseline,
    check_baselines,
    cured,
    guidance_of,
    guides,
    marked_places,
    with_guidance,
)
from looksharp.curing.results import Cure, Measured, Words
from looksharp.curing.settings import CureSettings
from looksharp.curing.ticks import Ticks, choose_ticks
from looksharp.curing.verdict import deciding_split
from looksharp.data.marked import choose_marked
from looksharp.data.split import Data, Split
from looksharp.data.ticked import choose_ticked
from looksharp.experiments.record import Values
from looksharp.experiments.study import conduct
from looksharp.experiments.table import Table
from looksharp.experiments.trial import Trial, run_folder, train_trial
from looksharp.objectives.parsing import PartSettings
from looksharp.propagation.keeping import propagated_data, quality_of, share
from looksharp.propagation.propagate import worth_propagating
from looksharp.training.data import map_said, moved_data, run_data
from looksharp.training.folder import Run, find_device, load_run, read_facts
from looksharp.training.reweighting import reweight_last_layer
from looksharp.training.settings import MarksConfig, RunConfig

__all__ = ["cure", "cure_run"]

Guidance = list[dict[str, dict[str, Any]]]
"""Parts of an objective, each a name with its settings."""


def cure(
    run: Run | Path | str,
    marks: Path | str | None = None,
    out: Path | str | None = None,
    *,
    progress: bool = True,
    **options: Any,
) -> Cure:
    """Retrain a run with guidance, evaluate and intervene before and after, and write OUT/report.html.

    Every training is a run folder below `out`. When the same call is made again finished ones are kept, and an
    interrupted one goes on.

    Args:
        run: the run folder of the classifier to cure, or a run that has one.
        marks: masks or boxes of a few training images; "data" for those of the data set, the default where no groups
            are ticked.
        out: folder for the page, its figures and the runs; the run's with "-cured" behind it if not given.
        progress: show progress bars.
        options: any other setting of `CureSettings`, such as guidance="agreement", budget=[0, 8, 60], or
            cues="suspects" with shortcut=[1, 2].

    Raises:
        ValueError: if the run, the data, the marks, the ticks or a setting is at fault, or `out` holds a cure of other
            settings.
    """
    run = run.folder if isinstance(run, Run) else run
    cues = options.pop("cues", None)
    marks = "data" if marks is None and cues is None else marks
    chosen = CureSettings(
        run=Path(run),
        marks=None if marks is None else str(marks),
        cues=None if cues is None else Path(cues),
        out=None if out is None else Path(out),
        **options,
    )
    return cure_run(chosen, progress)


def cure_run(chosen: CureSettings, progress: bool = True) -> Cure:
    """Do what `cure` does, from its settings."""
    path = chosen.run
    out = path.with_name(f"{path.name}-cured") if chosen.out is None else chosen.out
    before = load_run(path, device=chosen.device)
    settings, guidance = _moved(before.config, chosen), _guidance(chosen)
    images = run_data(before, chosen.data, chosen.root, chosen.class_map)
    if progress:
        print(map_said(images, before.config.data), end="", file=sys.stderr)
    check_baselines(chosen.compare, images)
    ceiling = None if chosen.ceiling is None else _ceiling(chosen.ceiling, before, chosen.device)
    ticks = _ticks(chosen, before, images, out, progress)
    marks = _propagated(chosen, settings, _divided(chosen, settings, images, ticks, out), out, progress)
    of_groups = marks.marked == 0
    check_budget(chosen.budget, len(ticks.shortcut) if ticks and of_groups else marks.marked, of_groups=of_groups)
    fine_tunes = bool(read_facts(path).adopted) if chosen.fine_tune is None else chosen.fine_tune
    weights = path / "model.safetensors" if fine_tunes else None
    config = _configured(chosen, settings, marks.settings, guidance, weights)
    how = "Its training continued" if fine_tunes else "Trained again"
    treatments = [
        Treatment("cure", f"{how} with {_cost(marks.marked, ticks)}.", config),
        *(baseline(name, config) for name in chosen.compare),
    ]

    splits, proofs = measured_splits(images, marks.proofs)
    pieces = in_memory(images, piece_splits(before, images, ticks, progress)) if ticks and ticks.shortcut else {}
    see = partial(measure, splits=splits, proofs=proofs, progress=progress, pieces=pieces)
    columns = [see("before", f"{path}, as it was.", before, 0)]
    warning = footing(columns[0].proof, of_pieces=bool(pieces)) if fine_tunes else ""
    if warning and progress:
        print(warning, file=sys.stderr, flush=True)
    # What needs no training comes first, since it may find fault with the data.
    runs = {t.name: _treat(t, before, marks, out, progress) for t in sorted(treatments, key=_is_trained)}
    columns += [see(t.name, t.description, *runs[t.name], ticks=_ticked(t, ticks)) for t in treatments]
    if ceiling is not None:
        columns.append(see(CEILING, f"{chosen.ceiling}, trained without the cue.", ceiling, 0))
    spent = None
    if chosen.budget:
        plain = with_guidance(config) if fine_tunes else settings
        seen = ({name: splits[name] for name in images.tests}, proofs, pieces)
        spent = _spend(chosen, plain, columns, marks, seen, out, progress)
    quality = quality_of(run_folder(out / "runs", "cure"))
    note = " ".join(filter(None, [ticks.note if ticks else "", marks.note, quality, warning]))
    return conclude(
        out,
        columns,
        marks.data,
        (proofs, pieces),
        Words(f"{path.name}: is the shortcut gone?", in_settings(config, marks.data), note=note),
        budget=spent,
    )


def _ceiling(path: Path, before: Run, device: str) -> Run:
    """Load the run that was trained without the cue."""
    run = load_run(path, device=device)
    if run.classes != before.classes or run.pixels != before.pixels:
        what = "classes" if run.classes != before.classes else "size or normalisation of images"
        raise ValueError(f"ceiling {path} has other {what} than {before.path}; name a run of the same task")
    return run


def _guidance(chosen: CureSettings) -> tuple[Guidance, Guidance]:
    """Return what is asked of marks of objects, and of cue marks."""
    guidance = guidance_of(chosen.guidance)
    return _warmed(guidance, chosen.warmup), _warmed(guidance_of(chosen.cue_guidance, of_cues=True), chosen.warmup)


def _configured(
    chosen: CureSettings,
    settings: RunConfig,
    marks: MarksConfig,
    guidance: tuple[Guidance, Guidance],
    weights: Path | None,
) -> RunConfig:
    """Return the settings of the retraining, from these weights if given."""
    of_objects, of_cues = guidance
    config = cured(
        settings,
        marks,
        of_objects if marks.marks is not None or marks.object else (),
        cue_guidance=of_cues if marks.shortcut else (),
        epochs=chosen.epochs,
        weights=None if weights is None else str(weights),
    )
    return config if chosen.lr is None else replace(config, optimization=replace(config.optimization, lr=chosen.lr))


def _ticks(chosen: CureSettings, before: Run, images: Data, out: Path, progress: bool) -> Ticks | None:
    """Return the ticked groups, and say which are refused."""
    if chosen.cues is None:
        return None
    ticks = choose_ticks(
        chosen.cues,
        chosen.shortcut,
        chosen.object,
        before,
        images,
        out,
        propagate=chosen.propagate,
        progress=progress,
    )
    for number, reason in ticks.refused.items() if progress else ():
        print(f"group {number} is refused: {reason}", file=sys.stderr)
    return ticks


def _divided(chosen: CureSettings, settings: RunConfig, images: Data, ticks: Ticks | None, out: Path) -> DividedMarks:
    """Return the marks to train with, and splits for the proof; without marks those that the data set has itself."""
    if chosen.marks is not None:
        marks = choose_marks(images, _marks(chosen, settings), settings.training.seed, out)
        return marks if ticks is None else replace(marks, settings=ticks.settings(marks.settings))
    assert ticks is not None  # as the settings say
    config = ticks.settings(MarksConfig(cues=str(ticks.path), marked_per_batch=_places(chosen, settings)))
    proofs = {name: split for name, split in other_splits(images).items() if provable(split)}
    return DividedMarks(choose_marked(images, config, settings.training.seed), config, 0, proofs)


def _propagated(
    chosen: CureSettings, settings: RunConfig, marks: DividedMarks, out: Path, progress: bool
) -> DividedMarks:
    """Return marks that trainings propagate, where that is asked for or worth it.

    It is done here first, since places in a batch for marked images are only needed where few images have a mark.
    """
    of_objects = marks.settings.marks is not None or bool(marks.settings.object and chosen.propagate)
    asked = True if chosen.propagate_without else chosen.propagate
    data, training = choose_ticked(marks.data, marks.settings), settings.training
    if not of_objects or not (worth_propagating(data.splits["train"]) if asked is None else asked):
        return marks
    found = propagated_data(
        data,
        run_folder(out / "runs", "cure") / "propagated",
        refused=chosen.propagate_without or (),
        seed=training.seed,
        device=find_device(training.device),
        workers=training.workers,
        progress=progress,
    ).splits["train"]
    assert found.marks is not None
    config = replace(marks.settings, propagate=True, propagate_without=chosen.propagate_without)
    if chosen.marked_per_batch is None and len(found.marks.images) >= len(found) / 2:
        config = replace(config, marked_per_batch=0)
    return replace(marks, settings=config)


def _cost(marked: int, ticks: Ticks | None) -> str:
    said = [f"{marked} marked images"] if marked or ticks is None else []
    if ticks is not None:
        count = len(ticks.shortcut) + len(ticks.object)
        said.append(f"{count} ticked group{'s' if count > 1 else ''}")
    return " and ".join(said)


def _ticked(treatment: Treatment, ticks: Ticks | None) -> int:
    """Return the number of ticked groups whose regions a training read."""
    if ticks is None or treatment.config is None or not any(guides(part) for part in treatment.config.objective):
        return 0
    return len(ticks.shortcut) + len(ticks.object)


def _marks(chosen: CureSettings, settings: RunConfig) -> MarksConfig:
    return MarksConfig(
        chosen.marks,
        chosen.marked,
        chosen.marked_classes,
        _places(chosen, settings),
        chosen.mark_boxes,
        marks_orientation=chosen.marks_orientation,
        mark_crowds=chosen.mark_crowds,
    )


def _places(chosen: CureSettings, settings: RunConfig) -> int:
    """Return the number of places in a batch for marked images."""
    batch = settings.training.batch_size
    places = marked_places(settings) if chosen.marked_per_batch is None else chosen.marked_per_batch
    if not 0 <= places < batch:
        raise ValueError(f"marked_per_batch must be 0 to {batch - 1}, below the run's batch_size; got {places}")
    return places


def _warmed(guidance: Sequence[PartSettings], warmup: int) -> Guidance:
    """Return the parts with this warm-up, unless they have one of their own."""
    return [{part.name: ({"warmup": warmup} if warmup else {}) | dict(part.settings)} for part in guidance]


def _moved(config: RunConfig, chosen: CureSettings) -> RunConfig:
    """Return a run's settings with the place of its images and the device replaced."""
    training = replace(config.training, device=chosen.device)
    return replace(config, data=moved_data(config.data, chosen.data, chosen.root, chosen.class_map), training=training)


def _is_trained(treatment: Treatment) -> bool:
    return treatment.config is not None


def _treat(treatment: Treatment, before: Run, marks: DividedMarks, out: Path, progress: bool) -> tuple[Run, int]:
    """Return the treated run and the number of marked images it took."""
    if progress:
        print(f"{treatment.name}: {treatment.description}", file=sys.stderr, flush=True)
    config = treatment.config
    if config is not None:
        trial = Trial(treatment.name, config, run_folder(out / "runs", treatment.name))
        asked = any(guides(part) for part in config.objective)
        if asked and config.marks.propagate:
            share(run_folder(out / "runs", "cure"), trial.folder)
        marked = marks.marked if asked else 0
        return train_trial(trial, marks.data, progress), marked
    started, training = time.perf_counter(), before.config.training
    model = reweight_last_layer(
        before.model, marks.data.splits["val"], before.pixels, seed=training.seed, workers=training.workers
    )
    return replace(before, model=model, seconds=before.seconds + time.perf_counter() - started), 0


def _spend(
    chosen: CureSettings,
    plain: RunConfig,
    columns: Sequence[Measured],
    marks: DividedMarks,
    seen: tuple[Mapping[str, Split], ...],
    out: Path,
    progress: bool,
) -> Budget:
    """Train and measure the curve: accuracy on test splits and, with an exchange, on the deciding split.

    Args:
        chosen: the cure's settings.
        plain: settings of the training without marks.
        columns: the classifiers before and after.
        marks: the marks to train with.
        seen: test splits, those with marks for the proof, and those with pieces.
        out: the cure's folder.
        progress: show progress bars.
    """
    before, after = columns[0].run, columns[1].run
    tests, *proofs = seen
    decides = deciding_split(columns[0].proof)
    by_marks, by_pieces = ({decides: kind[decides]} if decides in kind else {} for kind in proofs)
    if by_pieces:
        by_marks = {}

    trials = plan_budget(
        chosen.budget,
        range(chosen.seeds),
        after.config,
        with_guidance(plain, marks=MarksConfig()),
        marks.marked,
        out / "budget",
    )

    def train(trial: Trial, data: Data, progress: bool) -> Run:
        known = next((run for config, run in ((plain, before), (after.config, after)) if config == trial.config), None)
        return known or train_trial(trial, data, progress)

    def values(trial: Trial, run: Run, data: Data) -> Values:
        return curve_values(measure("budget", "", run, 0, tests, by_marks, progress, pieces=by_pieces))

    def report(trial: Trial, kept: bool) -> None:
        if progress and not kept:
            unit = "marked images" if marks.marked else "ticked groups"
            print(f"budget: {trial.variant} {unit}, seed {trial.seed}", file=sys.stderr, flush=True)

    records = conduct(trials, lambda trial: marks.data, values, train=train, report=report, progress=progress)
    return Budget(Table(tuple(records)), "Marked images" if marks.marked else "Ticked groups")
