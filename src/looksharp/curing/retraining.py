"""Retrain a run with a few marked images, and prove by intervention that its shortcut is gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from looksharp.curing.budget import Budget, check_budget, plan_budget
from looksharp.curing.conclusion import conclude, in_settings
from looksharp.curing.marks import DividedMarks, choose_marks
from looksharp.curing.measured import curve_values, measure, measured_splits
from looksharp.curing.plan import (
    Treatment,
    baseline,
    check_baselines,
    cured,
    guidance_of,
    marked_places,
    with_guidance,
)
from looksharp.curing.results import Cure, Measured, Words
from looksharp.curing.settings import CureSettings
from looksharp.curing.verdict import deciding_split
from looksharp.data.split import Data, Split
from looksharp.experiments.record import Values
from looksharp.experiments.study import conduct
from looksharp.experiments.table import Table
from looksharp.experiments.trial import Trial, run_folder, train_trial
from looksharp.objectives.base import PARTS
from looksharp.objectives.parsing import PartSettings
from looksharp.propagation.keeping import quality_of, share
from looksharp.training.data import map_said, moved_data, run_data
from looksharp.training.folder import Run, load_run, read_facts
from looksharp.training.reweighting import reweight_last_layer
from looksharp.training.settings import MarksConfig, RunConfig

__all__ = ["cure", "cure_run"]


def cure(
    run: Run | Path | str,
    marks: Path | str = "data",
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
        marks: masks or boxes of a few training images; "data" for those of the data set.
        out: folder for the page, its figures and the runs; the run's with "-cured" behind it if not given.
        progress: show progress bars.
        options: any other setting of `CureSettings`, such as guidance="agreement" or budget=[0, 8, 60].

    Raises:
        ValueError: if the run, the data, the marks or a setting is at fault, or `out` holds a cure of other settings.
    """
    run = run.folder if isinstance(run, Run) else run
    where = None if out is None else Path(out)
    return cure_run(CureSettings(run=Path(run), marks=str(marks), out=where, **options), progress)


def cure_run(chosen: CureSettings, progress: bool = True) -> Cure:
    """Do what `cure` does, from its settings."""
    path = chosen.run
    out = path.with_name(f"{path.name}-cured") if chosen.out is None else chosen.out
    before = load_run(path, device=chosen.device)
    settings = _moved(before.config, chosen)
    guidance = _warmed(guidance_of(chosen.guidance), chosen.warmup)
    images = run_data(before, chosen.data, chosen.root, chosen.class_map)
    if progress:
        print(map_said(images, before.config.data), end="", file=sys.stderr)
    check_baselines(chosen.compare, images)
    marks = choose_marks(images, _marks(chosen, settings), settings.training.seed, out)
    check_budget(chosen.budget, marks.marked)
    fine_tunes = bool(read_facts(path).adopted) if chosen.fine_tune is None else chosen.fine_tune
    weights = str(path / "model.safetensors") if fine_tunes else None
    config = cured(settings, marks.settings, guidance, epochs=chosen.epochs, weights=weights)
    if chosen.lr is not None:
        config = replace(config, optimization=replace(config.optimization, lr=chosen.lr))
    how = "Its training continued" if fine_tunes else "Trained again"
    treatments = [
        Treatment("cure", f"{how} with {marks.marked} marked images.", config),
        *(baseline(name, config) for name in chosen.compare),
    ]

    splits, proofs = measured_splits(images, marks.proofs)
    columns = [measure("before", f"{path}, as it was.", before, 0, splits, proofs, progress)]
    # What needs no training comes first, since it may find fault with the data.
    runs = {t.name: _treat(t, before, marks, out, progress) for t in sorted(treatments, key=_is_trained)}
    columns += [measure(t.name, t.description, *runs[t.name], splits, proofs, progress) for t in treatments]
    tests = {name: splits[name] for name in images.tests}
    spent = None
    if chosen.budget:
        plain = with_guidance(config) if fine_tunes else settings
        spent = _spend(chosen, plain, columns, marks, tests, proofs, out, progress)
    note = " ".join(filter(None, [marks.note, quality_of(run_folder(out / "runs", "cure"))]))
    return conclude(
        out,
        columns,
        marks.data,
        proofs,
        Words(f"{path.name}: is the shortcut gone?", in_settings(config, marks.data), note=note),
        budget=spent,
    )


def _marks(chosen: CureSettings, settings: RunConfig) -> MarksConfig:
    batch = settings.training.batch_size
    default = 0 if chosen.propagate else marked_places(settings)
    places = default if chosen.marked_per_batch is None else chosen.marked_per_batch
    if not 0 <= places < batch:
        raise ValueError(f"marked_per_batch must be 0 to {batch - 1}, below the run's batch_size; got {places}")
    return MarksConfig(
        chosen.marks,
        chosen.marked,
        chosen.marked_classes,
        places,
        chosen.mark_boxes,
        marks_orientation=chosen.marks_orientation,
        mark_crowds=chosen.mark_crowds,
        propagate=chosen.propagate,
        propagate_without=chosen.propagate_without,
    )


def _warmed(guidance: Sequence[PartSettings], warmup: int) -> list[dict[str, dict[str, Any]]]:
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
        asked = any(PARTS[part.name].reads_marks for part in config.objective)
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
    tests: Mapping[str, Split],
    proofs: Mapping[str, Split],
    out: Path,
    progress: bool,
) -> Budget:
    """Train and measure the curve: accuracy on test splits and, in foreign surroundings, on the deciding split."""
    before, after = columns[0].run, columns[1].run
    decides = deciding_split(columns[0].interventions)
    proof = {decides: proofs[decides]} if decides else {}

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
        return curve_values(measure("budget", "", run, 0, tests, proof, progress))

    def report(trial: Trial, kept: bool) -> None:
        if progress and not kept:
            print(f"budget: {trial.variant} marked images, seed {trial.seed}", file=sys.stderr, flush=True)

    records = conduct(trials, lambda trial: marks.data, values, train=train, report=report, progress=progress)
    return Budget(Table(tuple(records)))
