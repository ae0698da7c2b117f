"""Propagate the marks of a data set, keep what was found in a folder, and show it."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from looksharp.data.split import Data, Pixels, Split
from looksharp.data.transform import image_transform
from looksharp.drawing.contact_sheet import Tile, contact_sheet
from looksharp.files import replacing
from looksharp.propagation.propagate import STEPS, SURE, Propagated, propagate

__all__ = ["propagated_data", "quality_of", "share"]

_SHOWN = 24  # images of each group on the sheet


def propagated_data(
    data: Data,
    folder: Path,
    *,
    refused: Sequence[str] = (),
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int = 0,
    progress: bool = True,
) -> Data:
    """Return the data set with the marks of its training images propagated to all of them.

    FOLDER/masks.npz keeps what was found, and is read where the images, the marks and the seed are the same.
    FOLDER/sheet.png shows some of it, the least sure first.

    Args:
        data: the data set, some of its training images with marks.
        folder: folder for the masks and the sheet.
        refused: names of images whose mask is not to guide, as the sheet shows them.
        seed: seed of the segmenter.
        device: device of the segmenter.
        workers: processes that read image files.
        progress: show progress bars, and say what was found anew.

    Raises:
        ValueError: if a refused name is no training image; see also `propagate`.
    """
    train = data.splits["train"]
    without = _places(train, refused)
    key = f"{train.fingerprint()} {data.pixels} {STEPS} {seed}"
    key = hashlib.sha256(key.encode()).hexdigest()
    path, sheet = folder / "masks.npz", folder / "sheet.png"
    found = _read(path, key)
    if found is None:
        found = propagate(
            train,
            data.pixels,
            steps=STEPS,
            mirror="flip" in data.augment,
            seed=seed,
            device=device,
            workers=workers,
            progress=progress,
        )
        _write(path, found, key)
        sheet.unlink(missing_ok=True)
        if progress:
            print(
                f"{len(found.own)} marks propagated to {len(found.places(without)):,} of "
                f"{len(train) - len(found.own):,} images; on marked images that it had not learnt from, the "
                f"segmenter's masks overlap the marks by {float(found.overlaps.mean()):.2f}; look at {sheet}",
                file=sys.stderr,
            )
    if not sheet.exists():
        _draw(sheet, train, data.pixels, found)
    marks = found.marks(train, without)
    own, sure, count = len(found.own), len(found.places()), len(found.places(without))
    notes = {
        "marks: propagated to images without one": count,
        "marks: not propagated to, because the mask found there is unsure": len(train) - own - sure,
        "marks: found by propagation and refused": sure - count,
    }
    notes = data.notes | {remark: number for remark, number in notes.items() if number}
    return replace(data, splits=data.splits | {"train": replace(train, marks=marks)}, notes=notes)


def share(trained: Path, run: Path) -> None:
    """Give a run about to be trained the masks of another, which it takes if its images, marks and seed are the same.

    Args:
        trained: folder of the other run.
        run: folder of the run.
    """
    source, target = (folder / "propagated" / "masks.npz" for folder in (trained, run))
    if source.exists() and not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as temporary:
            temporary.write_bytes(source.read_bytes())


def quality_of(run: Path) -> str:
    """Say in a sentence how well a run's marks were propagated; "" if they were not.

    Args:
        run: folder of the run.
    """
    found = _read(run / "propagated" / "masks.npz")
    if found is None:
        return ""
    return (
        f"A small segmenter learnt the {len(found.own)} marks and marked the object in {len(found.places()):,} other "
        f"training images; on marked images that it had not learnt from, its masks overlap the marks by "
        f"{float(found.overlaps.mean()):.2f}."
    )


def _places(split: Split, names: Sequence[str]) -> list[int]:
    known = {name: place for place, name in enumerate(split.names)} if names else {}
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise ValueError(f"propagate_without names {unknown!r}, which is no training image")
    return [known[name] for name in names]


def _read(path: Path, key: str | None = None) -> Propagated | None:
    """Return what a file keeps, or None if it keeps masks by another key, is damaged or is not there."""
    try:
        with path.open("rb") as file, np.load(file) as kept:  # given a path, it leaves a damaged file open
            if key is not None and str(kept["key"]) != key:
                return None
            height, width = kept["grid"].tolist()
            own = tuple(kept["own"].tolist())
            sure, overlaps = torch.from_numpy(kept["sure"]), torch.from_numpy(kept["overlaps"])
            return Propagated(kept["bits"], (height, width), sure, own, overlaps)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, found: Propagated, key: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:  # np.savez would add a suffix to a name
        np.savez_compressed(
            file,
            key=np.array(key),
            bits=found.bits,
            grid=np.array(found.grid),
            own=np.array(found.own),
            sure=found.sure.numpy(),
            overlaps=found.overlaps.numpy(),
        )


def _draw(path: Path, split: Split, pixels: Pixels, found: Propagated) -> None:
    transform = image_transform(pixels.whole())
    guiding = sorted(found.places(), key=lambda place: float(found.sure[place]))
    others = [place for place in range(len(split)) if place not in {*guiding, *found.own}]
    drawn = torch.randperm(len(guiding), generator=torch.Generator().manual_seed(0))[:_SHOWN].tolist()
    groups = {
        "Unsure, these do not guide": others[:_SHOWN],
        f"The least sure of those that guide (expected overlap of {SURE:g} or more)": guiding[:_SHOWN],
        "Some of all that guide": [guiding[place] for place in sorted(drawn)],
    }

    def tile(place: int) -> Tile:
        image = transform(split.image(place)).as_subclass(Tensor).float() / 255
        return Tile(image, split.name(place), f"expected overlap {float(found.sure[place]):.2f}", found.mask(place))

    contact_sheet([(heading, [tile(place) for place in places]) for heading, places in groups.items()], path)
