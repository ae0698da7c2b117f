"""A data set from its settings."""

from __future__ import annotations

import difflib
from dataclasses import field, fields, replace
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from looksharp.attention.layout import pair
from looksharp.data.class_map import read_class_map, renamed
from looksharp.data.folder import read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.pixels import Fit, Interpolation, Middle, Pixels, Resizer
from looksharp.data.registry import DATA_SETS, SOURCES, DataSet
from looksharp.data.split import Data
from looksharp.data.survey import surveyed
from looksharp.settings import SettingError, near_miss, resolved, settings

__all__ = ["NO_DATA", "DataConfig", "below_data", "build_data"]


NO_DATA = ""
"""Name of the data of a model that was adopted without any."""

Side = Annotated[int, Ge(1), Le(8192)]
"""Length of an image's side in pixels."""


@settings
class DataConfig:
    """Settings of the images.

    Args:
        data: a named set, such as digits, cifar100 or voc, which has settings of its own; or an image folder
            (train/CLASS/..., with val and test folders beside it; or CLASS/..., divided by seed). hf:NAME_OR_PATH is
            a set that Hugging Face's datasets reads; wds:PATTERN names WebDataset's shards by path or URL, such as
            wds:shards/train-{0000..0009}.tar.
        root: folder with the files of a named set such as cifar10 or voc.
        image_size: side to which image files are resized, in pixels, or HEIGHT,WIDTH; the set's own if not given.
        val_share: share of the training images held out for validation where the set has no validation split; with 0,
            validation reads the test split.
        range: LOW,HIGH, the values that become black and white in images of more than 8 bits a channel: 0,4095 for 12
            bits. 16-bit images keep their own range if it is not given; others need it.
        crop_share: side of the centre crop that is evaluated, as a share of the resized image's shorter side: 0.875
            cuts 224 pixels from 256; 1 resizes images to fit.
        fit: for image files of other proportions, crop resizes them to cover that size and cuts out the middle; resize
            resizes both sides, so that nothing is cut off; shorter covers the size and rounds as torchvision and timm
            do.
        resize_size: side to which image files are resized before the middle of image_size is cut out, or HEIGHT,WIDTH;
            in place of crop_share.
        interpolation: filter by which image files are resized; resizer torch lacks lanczos, box and hamming, resizer
            pil lacks nearest-exact.
        resizer: library that resizes image files: torch, or pil, which most published weights were evaluated with.
        antialias: widen the filter when files are reduced; always on with resizer pil.
        middle: where the middle lies when an odd number of pixels is cut off: round, as in torchvision and timm, or
            floor, as in transformers.
        mean: mean of the three channels, in colours of 0 to 1; the set's own if not given.
        std: standard deviation of the three channels; the set's own if not given.
        class_map: file of lines `data_class: model_class` (.yaml, .json or .csv), where the data call the classes of a
            model otherwise; `-` leaves the images of a class out. Case, spaces and punctuation do not matter, several
            classes may become one, and classes that it does not name keep their names. config.yaml keeps what it says.
        settings: the set's own settings, the arguments of its reader; in flat form they stand below its name.

    Raises:
        SettingError: if a value is out of range, or is not one of the set's settings.
    """

    data: str = "digits"
    root: Path | None = None
    image_size: Side | tuple[Side, Side] | None = None
    val_share: Annotated[float, Ge(0), Lt(1)] = 0.1
    crop_share: Annotated[float, Gt(0), Le(1)] = 1.0
    fit: Fit = "crop"
    resize_size: Side | tuple[Side, Side] | None = None
    interpolation: Interpolation = "bilinear"
    resizer: Resizer = "torch"
    antialias: bool = True
    middle: Middle = "round"
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    range: tuple[float, float] | None = None
    class_map: dict[str, str | None] | Path | None = None
    settings: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = _named(self.data)
        if made is not None:
            found = resolved(made.reader, self.settings, below_data(self.data), made.without)
            object.__setattr__(self, "settings", found)
        elif self.settings:
            raise SettingError(near_miss(next(iter(self.settings)), (), self.data))
        if isinstance(self.class_map, Path):
            object.__setattr__(self, "class_map", read_class_map(self.class_map))
        if self.range is not None and not self.range[0] < self.range[1]:
            raise SettingError(f"range must be LOW,HIGH, the first below the second; got {self.range}")

    def __hash__(self) -> int:
        return hash(repr(self))

    def read_as(self, pixels: Pixels) -> DataConfig:
        """Return the settings of the same images, read by these pixels."""
        same = {name: getattr(pixels, name) for name in _OF_PIXELS}
        return replace(self, image_size=pixels.size, range=pixels.value_range, **same)


_OF_FILES = ("crop_share", "fit", "resize_size", "interpolation", "resizer", "antialias", "middle")
_OF_PIXELS = (*_OF_FILES, "mean", "std")
"""Settings of the images that `Pixels` has by the same name; the first of them are for image files alone."""


def below_data(data: str) -> str:
    """Return the name below which the settings of a set stand in flat form: its own, or the prefix of a source."""
    return data.partition(":")[0]


def _named(data: str) -> DataSet | None:
    """Return the named set or source, or None for what must be a folder."""
    if data in DATA_SETS:
        return DATA_SETS[data]
    prefix, colon, _ = data.partition(":")
    return SOURCES[prefix] if colon and prefix in SOURCES else None


def build_data(config: DataConfig, seed: int = 0) -> Data:
    """Read or make the data set, hold out its validation images, and set how its images are read.

    Args:
        config: settings of the data set.
        seed: seed of all that is drawn, and of the images held out.

    Raises:
        ValueError: if there is no such set or folder, or its layout is wrong.
    """
    data = hold_out(_read(config, seed), config.val_share, seed)
    if isinstance(config.class_map, dict):
        data = renamed(data, config.class_map)
    return surveyed(_shown(data, config))


def _read(config: DataConfig, seed: int) -> Data:
    name = config.data
    made = _named(name)
    if made is not None:
        if made.needs_root and config.root is None:
            raise ValueError(f"root must name the folder that holds {name}'s files; nothing is downloaded")
        given = made.given(source=name.partition(":")[2] or None, root=config.root, seed=seed)
        return made.reader(**given, **made.fixed, **config.settings)
    if name == NO_DATA:
        raise ValueError("data are not known, since the model was adopted without any; name a set or folder by --data")
    folder = Path(name)
    if not folder.exists() and folder.name == name:
        close = difflib.get_close_matches(name, DATA_SETS, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(DATA_SETS))}"
        raise ValueError(f"data {name!r} is neither a folder nor a set that is known; {hint}")
    return read_folder(folder, config.image_size)


def _shown(data: Data, config: DataConfig) -> Data:
    """Return the data set with the pixels that are asked for."""
    size, values = config.image_size, config.range
    defaults = {each.name: each.default for each in fields(config)}
    asked = [name for name in (*_OF_FILES, "range", "image_size") if getattr(config, name) != defaults[name]]
    if asked and any(split.in_memory for split in data.splits.values()):
        raise ValueError(f"{asked[0]} is for data sets of image files; {config.data} is held in memory")
    data = data if size is None else data.resized(size)
    data = data if values is None else data.ranged(values)
    given = {name: getattr(config, name) for name in _OF_PIXELS if getattr(config, name) is not None}
    if config.resize_size is not None:
        given["resize_size"] = pair(config.resize_size)
    return replace(data, pixels=replace(data.pixels, **given))
