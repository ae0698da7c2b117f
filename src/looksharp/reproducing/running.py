"""Reproduce a table: train its rows, measure them, and write the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.data.splits.files import keep_in_memory
from looksharp.experiments.record import Record, Values, read_records
from looksharp.experiments.study import conduct
from looksharp.experiments.trial import Trial, kept_record, plan
from looksharp.files import replacing
from looksharp.reproducing.chart import draw_chart, points_of
from looksharp.reproducing.folds import ALL, chosen_folds, fold_folder, mean_over_folds, with_fold
from looksharp.reproducing.measuring import CUE_FOLDERS, measure_run
from looksharp.reproducing.panels import draw_panels, panels_of
from looksharp.reproducing.reading import read_recipe
from looksharp.reproducing.recipe import Recipe
from looksharp.reproducing.scaling import scaled_config, scaled_data
from looksharp.reproducing.settings import ReproduceSettings
from looksharp.reproducing.table import lines_of, write_tables
from looksharp.training.folder import Run, find_device

__all__ = ["reproduce", "reproduce_table"]


def reproduce(
    recipe: str | Recipe,
    out: Path | str = "runs/reproduce",
    *,
    progress: bool = True,
    report: Callable[[str], object] = print,
    **options: Any,
) -> Path:
    """Train and measure rows of a paper's table with the paper's settings, and write paper against measured.

    Each row and seed leaves a run folder, OUT/RECIPE/ROW/seed-N, and its figures there; the table is written anew
    after each, as results.md, results.csv and results.json in OUT/RECIPE, and chart.svg and panels.svg where the
    recipe has them. Started again, finished rows are kept and
    an unfinished one goes on from its last whole epoch. With a `scale` below 1 all this is in OUT/RECIPE/scale-S,
    and the table says that it is no reproduction. With a `fold` it is in folds/fold-N below that; with all folds the
    table of their means is in folds, where a row and seed stand once every fold is finished.

    Args:
        recipe: a name from `recipe_names`, or a recipe.
        out: folder of all reproductions.
        progress: show progress bars.
        report: is told what is done, a line at a time.
        options: any other setting of `ReproduceSettings`, such as seeds=[0, 1, 2].

    Returns:
        The folder of the table.

    Raises:
        ValueError: before anything is trained, if a name or number is wrong, the data is not there, or a run folder
            holds a run of other settings.
    """
    recipe = read_recipe(recipe) if isinstance(recipe, str) else recipe
    return reproduce_table(recipe, ReproduceSettings(Path(out), **options), progress, report)


def reproduce_table(
    recipe: Recipe, chosen: ReproduceSettings, progress: bool = True, report: Callable[[str], object] = print
) -> Path:
    """Do what `reproduce` does, from its settings."""
    find_device(chosen.device)
    _check_cue(recipe, chosen.cue)
    scale = chosen.scale
    home = chosen.out / recipe.name / ("" if scale == 1 else f"scale-{scale:g}")
    changes = _changes(recipe, chosen)
    rows = recipe.rows if chosen.rows is None else dict.fromkeys(chosen.rows)
    variants = {row: scaled_config(recipe.config(row, **changes), scale) for row in rows}
    folds = chosen_folds(chosen.fold)
    trials = [
        trial
        for fold in folds
        for trial in plan(
            {row: with_fold(recipe.name, config, fold) for row, config in variants.items()},
            dict.fromkeys(chosen.seeds),
            fold_folder(home, fold),
        )
    ]
    images = _Images(recipe, scale)
    for trial in trials:  # all of them, before the first is trained
        if kept_record(trial) is None:
            images.check(trial)

    def measure(trial: Trial, run: Run, data: Data) -> Values:
        return measure_run(
            recipe,
            trial.folder,
            data,
            row=trial.variant,
            cue=chosen.cue,
            smoke=scale < 1,
            device=chosen.device,
            workers=chosen.workers,
            progress=progress,
        )

    def say(trial: Trial, kept: bool) -> None:
        report(f"{recipe.name} {trial.variant} seed {trial.seed}: {'kept' if kept else trial.folder}")

    done = conduct(trials, images.of, measure, report=say, progress=progress)
    for trial, _ in zip(trials, done, strict=True):
        _write(recipe, trial.folder.parent.parent, scale)
        if chosen.fold == ALL:
            _write(recipe, home / "folds", scale, mean_over_folds(home))
    if recipe.panels:
        _write_panels(recipe, trials, images, chosen.device)
    return home / "folds" if chosen.fold == ALL else fold_folder(home, folds[0])


def _write(recipe: Recipe, folder: Path, scale: float, records: Sequence[Record] | None = None) -> None:
    """Write the table and, where the recipe has one, its chart, chart.svg."""
    records = read_records(folder) if records is None else records
    write_tables(recipe, folder, scale, records)
    if recipe.chart:
        lines = lines_of(recipe, records, scale)
        with replacing(folder / "chart.svg") as path:
            path.write_bytes(draw_chart(recipe, points_of(recipe, lines)))


def _write_panels(recipe: Recipe, trials: Sequence[Trial], images: _Images, device: str) -> None:
    """Write panels.svg beside the table, of the first seed with which both rows were trained; once."""
    found = {(trial.variant, trial.seed): trial for trial in trials}
    for seed in dict.fromkeys(trial.seed for trial in trials):
        alone, attended = (found.get((recipe.panels[name], seed)) for name in ("alone", "attended"))
        if alone is None or attended is None:
            continue
        path = alone.folder.parent.parent / "panels.svg"
        if not path.is_file():
            split = next(iter(images.of(alone).tests.values()))
            with replacing(path) as temporary:
                temporary.write_bytes(draw_panels(panels_of(alone.folder, attended.folder, split, device)))
        return


def _changes(recipe: Recipe, chosen: ReproduceSettings) -> dict[str, Any]:
    """Return the settings in which this reproduction departs from the recipe."""
    changes: dict[str, Any] = {"device": chosen.device, "workers": chosen.workers}
    changes |= _data_changes(recipe, chosen.root, chosen.data)
    if chosen.precision is not None:
        changes["precision"] = chosen.precision
    if chosen.from_scratch:
        changes["pretrained"] = False
    return changes


class _Images:
    """Data sets of a recipe; the latest is kept, since rows mostly share one."""

    def __init__(self, recipe: Recipe, scale: float) -> None:
        self.recipe, self.scale = recipe, scale
        self._known: tuple[Any, Data] | None = None
        self._checked: list[DataConfig] = []  # a setting may be a list, which no set takes

    def check(self, trial: Trial) -> None:
        """Read the set once, to find a missing or damaged one before long work starts."""
        if trial.config.data not in self._checked:
            self._checked.append(trial.config.data)
            self.of(trial)

    def of(self, trial: Trial) -> Data:
        """Return the set that a run trains on.

        Raises:
            ValueError: if it is not there, or not as the recipe says.
        """
        config = trial.config
        key = (config.data, config.marks, config.training.seed, config.training.batch_size)
        if self._known is None or self._known[0] != key:
            self._known = None  # two at a time might not fit into memory
            try:
                data = scaled_data(build_data(config.data, config.training.seed), config, self.scale)
            except (ValueError, OSError) as error:
                raise ValueError(
                    f"{self.recipe.name} cannot read its images: {error}; "
                    f"looksharp reproduce {self.recipe.name} --describe says what they must look like"
                ) from None
            if config.marks.marks in (None, "data"):  # else annotations are still to be found by file
                data = keep_in_memory(data)
            self._known = key, data
        return self._known[1]


def _data_changes(recipe: Recipe, root: Path | None, data: str | None) -> dict[str, Any]:
    if data is not None:
        if not Path(data).is_dir():
            raise ValueError(f"data must be an image folder in place of the recipe's set; {data} is none")
        return {"data": data, "root": None}
    if recipe.folder:
        raise ValueError(
            f"{recipe.name} is of images that no public set holds: name your image folder by --data FOLDER; "
            f"looksharp reproduce {recipe.name} --describe says what it must look like"
        )
    return {} if root is None else {"root": root}


def _check_cue(recipe: Recipe, cue: Path | None) -> None:
    if cue is None:
        return
    if recipe.cue is None:
        raise ValueError(f"{recipe.name} tests no cue; leave --cue away")
    missing = next((cue / name for name in CUE_FOLDERS if not (cue / name).is_dir()), None)
    if missing is not None:
        raise ValueError(f"cue must be a folder that holds {' and '.join(CUE_FOLDERS)}; {missing} does not exist")
