"""Retrain a run with a few marked images, and prove by intervention that its shortcut is gone."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from looksharp.curing.budget import Budget, check_budget, spend
from looksharp.curing.conclusion import conclude, in_settings
from looksharp.curing.folders import run_or_read
from looksharp.curing.marks import DividedMarks, choose_marks
from looksharp.curing.measuring import curve_values, measure, measured_splits
from looksharp.curing.plan import CURE, Treatment, baseline, check_baselines, cured, guided_places
from looksharp.curing.results import Cure, Measured
from looksharp.curing.verdict import deciding_split
from looksharp.data.build import build_data
from looksharp.data.split import Data, Split
from looksharp.objectives.parsing import guidance_parts
from looksharp.training.folder import Run, load_run
from looksharp.training.reweighting import reweight_last_layer
from looksharp.training.settings import GuidanceConfig, RunConfig

__all__ = ["cure"]

Device = Literal["auto", "cpu", "cuda", "mps"]


def cure(
    run: Path | str,
    guidance: Path | str = "data",
    out: Path | str | None = None,
    *,
    data: str | None = None,
    root: Path | None = None,
    guided: float | None = None,
    guidance_boxes: bool = False,
    guidance_loss: str = CURE.guidance_loss,
    guided_per_batch: int | None = None,
    guidance_warmup: int = 0,
    epochs: int | None = None,
    fine_tune: bool = False,
    compare: Sequence[str] = (),
    budget: Sequence[int] = (),
    seeds: int = 3,
    device: Device = "auto",
    progress: bool = True,
) -> Cure:
    """Retrain a run with guidance, evaluate and intervene before and after, and write OUT/report.html.

    Every training is a run folder below `out`. When the same call is made again finished ones are kept, and an
    interrupted one goes on.

    Args:
        run: the run folder of the classifier to cure.
        guidance: masks or boxes of a few training images; see `GuidanceConfig`. "data" for those of the data set.
        out: folder for the page, its figures and the runs; the run's with "-cured" behind it if not given.
        data: where the run's images are now, if not where they were.
        root: folder of that set's files.
        guided: how many of the marked images guide, a number or a share below 1 of the training images; all that
            are not held out for the proof if not given.
        guidance_boxes: replace every mask by the box around it.
        guidance_loss: what is asked of guided images; see `GuidanceConfig`.
        guided_per_batch: places of each batch that are drawn from the guided images; half of them if not given.
        guidance_warmup: training steps over which the weight of the guidance rises from 0.
        epochs: of the retraining; the run's own number if not given.
        fine_tune: go on from the run's weights at a tenth of its learning rate, instead of training anew.
        compare: what else to train on the same marks and batches: names of `looksharp.curing.plan.BASELINES`, or
            guidance losses.
        budget: numbers of marked images to train with, for the curve of accuracy against them; 0 is without any.
        seeds: trainings for each of those numbers.
        device: auto, cpu, cuda or mps.
        progress: show progress bars.

    Raises:
        ValueError: if the run, the data, the marks or a setting is at fault, or `out` holds a cure of other settings.
    """
    path = Path(run)
    out = path.with_name(f"{path.name}-cured") if out is None else Path(out)
    before = load_run(path, device=device)
    settings = _moved(before.config, data, root, device)
    guidance_parts(guidance_loss)
    images = build_data(settings.data, settings.training.seed)
    _check_classes(images, before)
    check_baselines(compare, images)
    batch = settings.training.batch_size
    places = guided_places(settings) if guided_per_batch is None else guided_per_batch
    if not 0 <= places < batch:
        raise ValueError(f"guided_per_batch must be 0 to {batch - 1}, below the run's batch_size; got {places}")
    choice = GuidanceConfig(
        str(guidance),
        guided,
        guided_per_batch=places,
        guidance_boxes=guidance_boxes,
        guidance_loss=guidance_loss,
        guidance_warmup=guidance_warmup,
    )
    marks = choose_marks(images, choice, settings.training.seed, out)
    check_budget(budget, seeds, marks.guided)
    weights = str(path / "model.safetensors") if fine_tune else None
    config = cured(settings, marks.guidance, epochs=epochs, weights=weights)
    how = "Its training continued" if fine_tune else "Trained again"
    treatments = [
        Treatment("cure", f"{how} with {marks.guided} marked images.", config),
        *(baseline(name, config) for name in compare),
    ]

    splits, proofs = measured_splits(images, marks.proofs)
    columns = [measure("before", f"{path}, as it was.", before, 0, splits, proofs, progress)]
    # What needs no training comes first, since it may find fault with the data.
    runs = {t.name: _treat(t, before, marks, out, progress) for t in sorted(treatments, key=_is_trained)}
    columns += [measure(t.name, t.description, *runs[t.name], splits, proofs, progress) for t in treatments]
    tests = {name: splits[name] for name in images.tests}
    spent = _spend(budget, seeds, settings, columns, marks, tests, proofs, out, progress) if budget else None
    return conclude(
        out,
        columns,
        marks.data,
        proofs,
        title=f"{path.name}: is the shortcut gone?",
        note=marks.note,
        settings=in_settings(config, marks.data),
        budget=spent,
    )


def _moved(config: RunConfig, data: str | None, root: Path | None, device: Device) -> RunConfig:
    """A run's settings where its images, or the machine, are others."""
    images = replace(config.data, data=data or config.data.data, root=root or config.data.root)
    return replace(config, data=images, training=replace(config.training, device=device))


def _check_classes(data: Data, run: Run) -> None:
    if data.classes != run.classes:
        raise ValueError(
            f"data {data.name} has other classes than the run: {len(data.classes)}, first {data.classes[0]!r}, "
            f"and not {len(run.classes)}, first {run.classes[0]!r}"
        )


def _is_trained(treatment: Treatment) -> bool:
    return treatment.config is not None


def _treat(treatment: Treatment, before: Run, marks: DividedMarks, out: Path, progress: bool) -> tuple[Run, int]:
    """The treated run, and how many marked images it took."""
    if progress:
        print(f"{treatment.name}: {treatment.description}", file=sys.stderr, flush=True)
    config = treatment.config
    if config is not None:
        folder = out / "runs" / treatment.name.replace(":", "-")
        marked = 0 if config.guidance.guidance_loss == "none" else marks.guided
        return run_or_read(config, folder, marks.data, progress), marked
    started, training = time.perf_counter(), before.config.training
    model = reweight_last_layer(
        before.model, marks.data.splits["val"], before.pixels, seed=training.seed, workers=training.workers
    )
    return replace(before, model=model, seconds=before.seconds + time.perf_counter() - started), 0


def _spend(
    budget: Sequence[int],
    seeds: int,
    plain: RunConfig,
    columns: Sequence[Measured],
    marks: DividedMarks,
    tests: Mapping[str, Split],
    proofs: Mapping[str, Split],
    out: Path,
    progress: bool,
) -> Budget:
    """The curve: accuracy on every test split and, in foreign surroundings, on the split that decides."""
    before, after = columns[0].run, columns[1].run
    decides = deciding_split(columns[0].interventions)
    proof = {decides: proofs[decides]} if decides else {}

    def train(config: RunConfig, folder: Path) -> Run:
        known = next((run for settings, run in ((plain, before), (after.config, after)) if settings == config), None)
        if known is None and progress:
            marked, seed = folder.name.split("-")
            print(f"budget: {marked} marked images, seed {seed}", file=sys.stderr, flush=True)
        return known or run_or_read(config, folder, marks.data, progress)

    return spend(
        budget,
        range(seeds),
        cure=after.config,
        plain=replace(plain, guidance=GuidanceConfig()),
        guided=marks.guided,
        out=out / "budget",
        train=train,
        measure=lambda run: curve_values(measure("budget", "", run, 0, tests, proof, progress)),
    )
