"""Facts of a run, in run.json, written and read here alone."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from looksharp.data.split import Data, Pixels
from looksharp.files import read_text, write_text
from looksharp.settings import SettingError, build, settings

__all__ = ["RunFacts", "facts_of", "package_versions", "read_facts", "write_facts"]

Count = Annotated[int, Ge(0)]

_PACKAGES = ("looksharp", "torch", "torchvision", "timm", "lightning")


@settings
class RunFacts:
    """Facts of a run that its settings do not hold.

    Attributes:
        classes: class names, in the order of the logits.
        pixels: the way from images to the network's input.
        multilabel: True if an image may have several classes.
        data: name of the data set.
        images: split -> number of images.
        marked: number of marked training images used.
        notes: remarks from reading the data -> their number.
        versions: versions of Python and of the packages.
        seed: seed of the run.
        seconds: training time; None until training has ended.
        adopted: what was understood of a model that was trained elsewhere, by topic; empty for a run trained here.
    """

    classes: tuple[str, ...]
    pixels: Pixels
    multilabel: bool
    data: str = ""
    images: dict[str, Count] = field(default_factory=dict)
    marked: Count = 0
    notes: dict[str, Count] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seed: Count = 0
    seconds: Annotated[float, Ge(0)] | None = None
    adopted: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.classes or len(set(self.classes)) < len(self.classes):
            raise SettingError(f"classes must be names, each of them once; got {', '.join(self.classes) or 'none'}")

    @property
    def finished(self) -> bool:
        """Return True if training has ended."""
        return self.seconds is not None


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages."""
    return {name: version(name) for name in _PACKAGES} | {"python": platform.python_version()}


def facts_of(data: Data, seed: int) -> RunFacts:
    """Return the facts of a run that is about to train on `data`."""
    train = data.splits["train"]
    return RunFacts(
        classes=data.classes,
        pixels=data.pixels,
        multilabel=data.multilabel,
        data=data.name,
        images={name: len(split) for name, split in data.splits.items()},
        marked=len(train.marks.images) if train.marks is not None else 0,
        notes=dict(data.notes),
        versions=package_versions(),
        seed=seed,
    )


def write_facts(folder: Path, facts: RunFacts) -> None:
    """Write FOLDER/run.json."""
    write_text(folder / "run.json", json.dumps(asdict(facts), indent=2) + "\n")


def read_facts(folder: Path | str) -> RunFacts:
    """Read FOLDER/run.json.

    Raises:
        ValueError: if the folder is not a run, or the file is damaged; the message names the file and the field.
    """
    folder = Path(folder)
    for name in ("config.yaml", "run.json"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} is not a run folder: it has no {name}")
    path = folder / "run.json"
    try:
        values = json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError):
        raise ValueError(f"{path} is not JSON: the run is damaged; train it again") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold facts, name: value; got {values!r:.60}")
    try:
        pixels = build(Pixels, values.pop("pixels", {}), "pixels")
        return build(RunFacts, values, "", without=("pixels",), pixels=pixels)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
