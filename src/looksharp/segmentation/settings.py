"""Settings of seeds; the flags of `looksharp seeds` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from looksharp.attention.mechanisms import check_asked
from looksharp.settings import SettingError, settings

__all__ = ["SeedSettings"]

Scale = Annotated[float, Gt(0), Le(4)]


@settings
class SeedSettings:
    """Settings of `looksharp seeds`.

    Args:
        run: run folder of the classifier whose attention is read.
        out: folder to write; the same command goes on where it stopped.
        data: data set, in place of the run's own; see train.
        root: folder of its files.
        split: images to make seeds of.
        mechanism: mechanism that makes the class maps, listed below; built_in reads the network's own attention.
        layer: layer to read; the last one if not given.
        scales: sizes at which images are read, as factors of the network's, whose maps are averaged.
        mirror: read mirror images too.
        threshold: share of a class map's maximum above which pixels are seeds.
        background: measure that is low at the background: gradient (of the true classes' scores with respect to the
            image), maps (the highest class map), none, or a folder of saliency maps, images laid out like those of the
            data.
        background_scale: size at which that gradient is computed, as a factor of the image's, though not below 32 px:
            0.25 costs about a sixth of a forward, 1 a whole one and more.
        background_share: share of the image that is seeded as background, where the measure is lowest.
        checkpoint: weights to read, last or best.
        device: auto, cpu, cuda or mps.
        batch_size: images per forward.
        workers: processes that read image files.
    """

    run: Path
    out: Path
    data: str | None = None
    root: Path | None = None
    split: str = "train"
    mechanism: str = "grad_cam"
    layer: str | None = None
    scales: tuple[Scale, ...] = (1.0,)
    mirror: bool = False
    threshold: Annotated[float, Ge(0), Lt(1)] = 0.2
    background: str = "gradient"
    background_scale: Annotated[float, Gt(0), Le(1)] = 0.25
    background_share: Annotated[float, Ge(0), Lt(1)] = 0.1
    checkpoint: Literal["last", "best"] = "last"
    device: str = "auto"
    batch_size: Annotated[int, Ge(1)] = 16
    workers: Annotated[int, Ge(0)] = 2

    def __post_init__(self) -> None:
        if self.mechanism != "built_in":
            check_asked(self.mechanism, layers=self.layer is not None)
        elif self.layer is not None:
            raise SettingError("layer is for maps of classes; mechanism 'built_in' reads the maps that there are")
        if not self.scales:
            raise SettingError("scales must be at least one number; got none")
        if self.background not in ("gradient", "maps", "none") and not Path(self.background).is_dir():
            raise SettingError(
                f"background must be gradient, maps, none or a folder of saliency maps; {self.background!r} is none"
            )
