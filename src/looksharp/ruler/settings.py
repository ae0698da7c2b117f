"""The settings of a ranking; flags of `looksharp mechanisms` are read off them."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from looksharp.settings import settings

__all__ = ["RulerSettings"]


@settings
class RulerSettings:
    """The settings of a ranking.

    Args:
        only: mechanisms to rank, listed below; all if not given. In brackets where a spelling holds commas:
            ["occlusion:window=16,stride=8", grad_cam]. built_in is the attention of a network that has some.
        most: largest cost of an image's map, in forwards; dearer mechanisms are left out unless `only` names them.
        images: number of images to measure on, drawn by seed.
        perturbed: number of these for which insertion, deletion, average drop and ROAD are measured, 122 forwards each.
        split: split to measure on; the first test split if not given.
        layer: layer whose maps are read; the last one if not given.
        batch_size: images of one forward.
        workers: processes that read image files.
        seed: seed of the images, of the random weights and of the intervals.
        shown: number of images to draw side by side.
    """

    only: tuple[str, ...] | None = None
    most: Annotated[float, Ge(1)] = 1000
    images: Annotated[int, Ge(2)] = 200
    perturbed: Annotated[int, Ge(0)] = 100
    split: str | None = None
    layer: str | None = None
    batch_size: Annotated[int, Ge(1)] = 64
    workers: Annotated[int, Ge(0)] = 2
    seed: Annotated[int, Ge(0)] = 0
    shown: Annotated[int, Ge(0)] = 6
