"""The settings of a comparison; the flags of `looksharp compare` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from looksharp.settings import settings

__all__ = ["CompareSettings"]


@settings
class CompareSettings:
    """The settings of a comparison.

    Args:
        runs: run folders of two methods or more; runs that differ in their seed alone are one method.
        out: folder for the page, its figures and the tables.
        names: a name for each method, in the order in which they come.
        mechanism: how maps are made; listed below.
        device: auto, cpu, cuda or mps.
        batch_size: images a forward.
        workers: processes that read image files.
        resamples: number of bootstrap resamples.
        pictures: number of images of each kind to show.
        points: the most images that a t-SNE shows.
    """

    runs: tuple[Path, ...]
    out: Path = Path("comparison")
    names: tuple[str, ...] | None = None
    mechanism: str = "grad_cam"
    device: str = "auto"
    batch_size: Annotated[int, Ge(1)] = 64
    workers: Annotated[int, Ge(0)] = 2
    resamples: Annotated[int, Ge(100), Le(1_000_000)] = 2000
    pictures: Annotated[int, Ge(0), Le(1_000)] = 4
    points: Annotated[int, Ge(0), Le(100_000)] = 500
