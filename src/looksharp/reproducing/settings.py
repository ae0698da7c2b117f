"""The settings of a reproduction; the flags of `looksharp reproduce` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from looksharp.data.dividing import Fold
from looksharp.settings import SettingError, settings

__all__ = ["ReproduceSettings"]


@settings
class ReproduceSettings:
    """The settings of a reproduction.

    Args:
        out: folder of all reproductions.
        root: the folder that holds the data set's files; see --describe.
        data: an image folder in place of the recipe's set.
        cue: folder with without_cue and cue_alone, for a recipe that tests a cue.
        rows: short names of the rows; all if not given.
        seeds: seeds; each row is trained once with each.
        fold: fold that is tested on, in place of the recipe's, for data sets that are divided into folds; all trains on
            each in turn and takes the mean.
        scale: share of epochs and images, for a smoke run.
        device: auto, cpu, cuda or mps.
        workers: processes that read image files.
        precision: precision in place of the recipe's; the table names it.
        from_scratch: do without the recipe's published weights; for a smoke run alone.
    """

    out: Path = Path("runs/reproduce")
    root: Path | None = None
    data: str | None = None
    cue: Path | None = None
    rows: tuple[str, ...] | None = None
    seeds: tuple[Annotated[int, Ge(0)], ...] = (0,)
    fold: Fold | Literal["all"] | None = None
    scale: Annotated[float, Gt(0), Le(1)] = 1.0
    device: str = "auto"
    workers: Annotated[int, Ge(0)] = 2
    precision: str | None = None
    from_scratch: bool = False

    def __post_init__(self) -> None:
        if not self.seeds:
            raise SettingError("seeds must be at least one number; got none")
        if self.from_scratch and self.scale == 1:
            raise SettingError(
                "from_scratch is for a smoke run (scale below 1): the recipe starts from published weights"
            )
