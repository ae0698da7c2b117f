"""The settings of a diagnosis; the flags of `looksharp doctor` are read off them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from looksharp.data.build import Side
from looksharp.settings import settings

__all__ = ["DoctorSettings"]


@settings
class DoctorSettings:
    """The settings of a diagnosis.

    Args:
        subject: a run folder; or a model, as adopt takes it: a timm name, torchvision:NAME, hf:NAME or hf:FOLDER, a
            name of looksharp, or package.module:function. If not given, the installation alone is described.
        weights: file of a model's weights, as adopt reads them. If not given, and without --pretrained, they are new
            and random: neither layers and head nor the check of the maps depends on them.
        pretrained: load a model's published weights; needs network access or a local cache of them.
        image_size: side of the images in pixels, or HEIGHT,WIDTH; the model's own if not given.
        layers: inner and last layer; found in the network if not given.
        images: number of random images that are looked at.
        checkpoint: weights of a run, last or best.
        device: auto, cpu, cuda or mps.
    """

    subject: str = ""
    weights: Path | None = None
    pretrained: bool = False
    image_size: Side | tuple[Side, Side] | None = None
    layers: list[str] | None = None
    images: Annotated[int, Ge(1), Le(64)] = 4
    checkpoint: Literal["last", "best"] = "last"
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
