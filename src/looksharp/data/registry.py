"""The data sets that have a name: which function makes or reads each, and which settings it is given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from looksharp.data.split import Data

__all__ = ["DATA_SETS", "SOURCES", "DataSet"]

_ARGUMENTS = {
    "image_size": "size",
    "train_size": "train",
    "val_size": "val",
    "test_size": "test",
}  # the readers' own word for a setting, where it is another


@dataclass(frozen=True)
class DataSet:
    """A set's reader, loaded on use.

    Attributes:
        reader: "module.function", the module one of `looksharp.data`.
        settings: the settings of `DataConfig`, and "seed", that the function takes; those that are None are left
            to its own defaults. A set with "root" is read from there.
        options: further arguments, the same for every call.
    """

    reader: str
    settings: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)

    def load(self) -> Callable[..., Data]:
        """The function."""
        module, function = self.reader.split(".")
        read: Callable[..., Data] = getattr(import_module(f"looksharp.data.sets.{module}"), function)
        return read

    def arguments(self, config: Any, seed: int) -> dict[str, object]:
        """The keywords with which the function is called, from a `DataConfig`."""
        values = {name: seed if name == "seed" else getattr(config, name) for name in self.settings}
        given = {_ARGUMENTS.get(name, name): value for name, value in values.items() if value is not None}
        return given | dict(self.options)


_CLUTTERED = ("distractors", "train_size", "val_size", "test_size", "test_distractors", "seed")
_COMPCARS = ("root", "image_size", "val_share", "seed", "crop_to_boxes")
_ADIENCE = ("root", "fold", "image_size", "val_share", "seed")

DATA_SETS: dict[str, DataSet] = {
    "digits": DataSet("synthetic.digits", ("train_size", "seed")),
    "biased_digits": DataSet("synthetic.biased_digits", ("rho", "train_size", "seed")),
    "cluttered_digits": DataSet("cluttered.cluttered_digits", _CLUTTERED),
    "cluttered_mnist": DataSet("cluttered.cluttered_mnist", ("root", "val_share", *_CLUTTERED)),
    "cifar10": DataSet("torchvision_sets.read_torchvision", ("root", "val_share", "seed"), {"name": "cifar10"}),
    "cifar100": DataSet("torchvision_sets.read_torchvision", ("root", "val_share", "seed"), {"name": "cifar100"}),
    "mnist": DataSet("torchvision_sets.read_torchvision", ("root", "val_share", "seed"), {"name": "mnist"}),
    "svhn": DataSet("svhn.read_svhn", ("root", "svhn_extra", "val_share", "seed")),
    "imagenet": DataSet("imagenet.read_imagenet", ("root", "image_size")),
    "caltech256": DataSet("caltech256.read_caltech256", ("root", "image_size", "train_per_class", "val_share", "seed")),
    "cub200": DataSet("cub200.read_cub200", ("root", "image_size", "guidance_from", "val_share", "seed")),
    "stanford_cars": DataSet("stanford_cars.read_stanford_cars", ("root", "image_size", "val_share", "seed")),
    "stanford_dogs": DataSet("stanford_dogs.read_stanford_dogs", ("root", "image_size", "val_share", "seed")),
    "voc": DataSet("pascal.read_pascal", ("root", "image_size", "voc_set")),
    "coco": DataSet("coco_detection.read_coco_detection", ("root", "image_size")),
    "celeba": DataSet("celeba.read_celeba", ("root", "image_size", "val_share")),
    "compcars_model": DataSet("compcars.read_compcars", _COMPCARS, {"task": "model"}),
    "compcars_maker": DataSet("compcars.read_compcars", _COMPCARS, {"task": "maker"}),
    "adience_gender": DataSet("adience.read_adience", _ADIENCE, {"task": "gender"}),
    "adience_age": DataSet("adience.read_adience", _ADIENCE, {"task": "age"}),
    "uec_food100": DataSet("uec_food.read_uec_food", (*_ADIENCE, "crop_to_boxes")),
    "waterbirds": DataSet("waterbirds.read_waterbirds", ("root", "image_size")),
}
"""Every set by its name."""

SOURCES: dict[str, DataSet] = {
    "hf": DataSet("hugging_face.read_hugging_face", ("image_size", "val_share", "seed", "label_column")),
    "wds": DataSet("streaming.read_shards", ("image_size", "val_share", "val_shards")),
}
"""Readers of what is named by `PREFIX:SOURCE`; the source is the first argument."""
