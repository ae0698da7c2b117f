"""Reproduce a table: train its rows, measure them, and write the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from looksharp.data.build import DataConfig, build_data
from looksharp.data.split import Data
from looksharp.data.splits.files import keep_in_memory
from looksharp.reproducing.measuring import CUE_FOLDERS, measure_run
from looksharp.reproducing.provenance import commit, hardware
from looksharp.reproducing.reading import read_recipe
from looksharp.reproducing.recipe import Recipe
from looksharp.reproducing.results import Result, differing, read_result, write_result
from looksharp.reproducing.scaling import check_scale, scaled_config, scaled_data
from looksharp.reproducing.table import write_tables
from looksharp.training.folder import find_device, read_config
from looksharp.training.run import train
from looksharp.training.settings import RunConfig

__all__ = ["reproduce"]


def reproduce(
    recipe: str | Recipe,
    out: Path = Path("runs/reproduce"),
    *,
    root: Path | None = None,
    data: str | None = None,
    cue: Path | None = None,
    rows: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    scale: float = 1.0,
    device: str = "auto",
    workers: int = 2,
    precision: str | None = None,
    from_scratch: bool = False,
    progress: bool = True,
    report: Callable[[str], object] = print,
) -> Path:
    """Train and measure rows of a paper's table with the paper's settings, and write paper against measured.

    Each row and seed leaves a run folder, OUT/RECIPE/ROW/seed-N, and its figures there; the table is written anew
    after each, as results.md, results.csv and results.json in OUT/RECIPE. Started again, finished rows are kept and
    an unfinished one goes on from its last whole epoch. With a `scale` below 1 all this is in OUT/RECIPE/scale-S,
    and the table says that it is no reproduction.

    Args:
        recipe: a name from `recipe_names`, or a recipe.
        out: folder of all reproductions.
        root: the folder that holds the data set's files; see the recipe's `data`.
        data: an image folder in place of the recipe's set.
        cue: folder with without_cue and cue_alone, for a recipe that tests a cue.
        rows: short names; all if not given.
        seeds: one run of each row for each.
        scale: share of epochs and images, for a smoke run.
        device: auto, cpu, cuda or mps.
        workers: processes that read image files.
        precision: other than the recipe's; the table names it.
        from_scratch: do without the recipe's published weights; for a smoke run alone.
        progress: show progress bars.
        report: is told what is done, a line at a time.

    Returns:
        The folder of the table.

    Raises:
        ValueError: before anything is trained, if a name or number is wrong, the data is not there, or a run folder
            holds a run of other settings.
    """
    recipe = read_recipe(recipe) if isinstance(recipe, str) else recipe
    check_scale(scale)
    find_device(device)
    _check_cue(recipe, cue)
    if not seeds:
        raise ValueError("seeds must be at least one number; got none")
    home = out / recipe.name / ("" if scale == 1 else f"scale-{scale:g}")
    changes: dict[str, Any] = {"device": device, "workers": workers, **_data_changes(recipe, root, data)}
    changes |= {} if precision is None else {"precision": precision}
    if from_scratch and scale == 1:
        raise ValueError("from_scratch is for a smoke run (scale below 1): the recipe starts from published weights")
    changes |= {"pretrained": False} if from_scratch else {}
    chosen = list(recipe.rows) if rows is None else list(dict.fromkeys(rows))
    planned = [
        (row, scaled_config(recipe.config(row, seed=seed, **changes), scale)) for row in chosen for seed in seeds
    ]
    todo = [(row, config) for row, config in planned if not _finished(_folder(home, row, config), config)]
    images = _Images(recipe, scale)
    for _, config in todo:  # all of them, before the first is trained
        images.check(config)
    for row, config in planned:
        if (row, config) not in todo:
            report(f"{recipe.name} {row} seed {config.training.seed}: kept")
            continue
        report(f"{recipe.name} {row} seed {config.training.seed}: {_folder(home, row, config)}")
        _run(recipe, row, config, images.of(config), _folder(home, row, config), scale, cue, progress)
        write_tables(recipe, home)
    write_tables(recipe, home)
    return home


def _run(
    recipe: Recipe,
    row: str,
    config: RunConfig,
    data: Data,
    folder: Path,
    scale: float,
    cue: Path | None,
    progress: bool,
) -> None:
    run = train(config, folder, data=data, resume=True, progress=progress)
    training = config.training
    figures, parameters = measure_run(
        recipe,
        folder,
        data,
        cue=cue,
        smoke=scale < 1,
        device=training.device,
        workers=training.workers,
        progress=progress,
    )
    write_result(
        folder,
        Result(
            recipe=recipe.name,
            row=row,
            seed=training.seed,
            scale=scale,
            figures=figures,
            parameters=parameters,
            settings=config.flat(),
            data=data.name,
            images=len(data.splits["train"]),
            epochs=len(run.history),
            seconds=run.seconds,
            commit=commit(),
            hardware=hardware(training.device, training.precision),
        ),
    )


class _Images:
    """A recipe's data sets, the latest kept: rows mostly share one."""

    def __init__(self, recipe: Recipe, scale: float) -> None:
        self.recipe, self.scale = recipe, scale
        self._known: tuple[Any, Data] | None = None
        self._checked: list[DataConfig] = []  # a setting may be a list, which no set takes

    def check(self, config: RunConfig) -> None:
        """Read the set once, so that one that is missing or damaged is found before long work starts."""
        if config.data not in self._checked:
            self._checked.append(config.data)
            self.of(config)

    def of(self, config: RunConfig) -> Data:
        """The set that a run trains on.

        Raises:
            ValueError: if it is not there, or not as the recipe says.
        """
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


def _folder(home: Path, row: str, config: RunConfig) -> Path:
    return home / row / f"seed-{config.training.seed}"


def _finished(folder: Path, config: RunConfig) -> bool:
    """Whether a run is there with its figures.

    Raises:
        ValueError: if the folder holds a run of other settings.
    """
    result = read_result(folder)
    if result is None and not (folder / "config.yaml").is_file():
        return False
    before = dict(result.settings) if result is not None else read_config(folder).flat()
    other = differing(before, config.flat())
    if other:
        raise ValueError(f"{folder} holds a run of other settings ({other}); choose another --out, or remove it")
    return result is not None
