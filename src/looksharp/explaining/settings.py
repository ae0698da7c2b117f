"""The settings of maps of many images; flags of `looksharp explain` are read off them."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from looksharp.settings import settings

__all__ = ["ManySettings"]


@settings
class ManySettings:
    """The settings of maps of many images.

    Args:
        classes: top5, or class names separated by commas.
        mechanism: mechanism that makes the maps; if not given, the network's own attention where it has some and no
            layer or option of class maps is asked for, else grad_cam.
        layer: layer to read; the last one if not given. Several need fuse.
        signed: keep evidence against a class, as negative values.
        smooth: average maps over six mirrored and scaled copies of each image.
        fuse: average the maps of several layers, those named or the last two.
        shard_size: images of each Parquet file, the smallest piece that is done again after a kill, and that one of
            several processes works on.
        batch_size: images per forward, of each process.
        workers: processes that read image files, of each process.
        pictures: number of images to draw, spread evenly, on sheets of at most 50.
    """

    classes: str = "top5"
    mechanism: str | None = None
    layer: tuple[str, ...] | None = None
    signed: bool = False
    smooth: bool = False
    fuse: bool = False
    shard_size: Annotated[int, Ge(1)] = 1000
    batch_size: Annotated[int, Ge(1)] = 64
    workers: Annotated[int, Ge(0)] = 2
    pictures: Annotated[int, Ge(0)] = 0
