"""Foregrounds over photographs whose kind follows the class: the Waterbirds construction, from your own folders.

Sagawa et al. 2020, "Distributionally Robust Neural Networks", Sec. 2: birds cut out by mask over water or land, the
background's kind agreeing with the class in most training images. The result is an image folder with masks and groups,
to look at and to train on like any other.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torchvision.transforms import v2
from tqdm import tqdm

from looksharp.data.folder import check_class_folder, read_folder
from looksharp.data.hold_out import hold_out
from looksharp.data.sets.synthetic import handwriting
from looksharp.data.sets.torchvision_sets import read_torchvision
from looksharp.data.split import Split
from looksharp.images.finding import find_images
from looksharp.images.reading import read_image

__all__ = ["Cutouts", "compose", "cutouts_of"]

_Array = npt.NDArray[np.float32]
_LARGEST = 8192  # side of an image in pixels
_SHARES = (0.45, 0.75)  # a foreground's longer side as a share of the image's


@dataclass(frozen=True)
class Cutouts:
    """Foregrounds of one split.

    Attributes:
        colours: each (h, w, 3) in [0, 1], or None for strokes that are painted in one random light colour.
        opacity: each (h, w) in [0, 1].
        classes: each one's class name.
    """

    colours: Sequence[_Array | None]
    opacity: Sequence[_Array]
    classes: Sequence[str]


def cutouts_of(source: str, root: Path | None = None) -> dict[str, Cutouts]:
    """Return foregrounds for "train" and "test".

    Args:
        source: "digits" (scikit-learn's), "mnist" (needs `root`), or an image folder with masks in FOLDER/masks.
        root: the folder that holds MNIST/raw.

    Raises:
        ValueError: if the source is not there, or its images have no masks.
    """
    if source == "digits":
        found = {name: handwriting(name) for name in ("train", "test")}
        return {
            name: Cutouts([None] * len(labels), list(strokes), [str(label) for label in labels])
            for name, (strokes, labels) in found.items()
        }
    if source == "mnist":
        if root is None:
            raise ValueError("foregrounds mnist need --root: the folder that holds MNIST/raw")
        data = read_torchvision("mnist", root)
        cutouts = {}
        for name in ("train", "test"):
            split = data.splits[name]
            strokes = [split.image(i)[0].numpy().astype(np.float32) / 255 for i in range(len(split))]
            cutouts[name] = Cutouts([None] * len(split), strokes, [str(int(t)) for t in split.targets])
        return cutouts
    data = hold_out(read_folder(Path(source)))
    test = "test" if "test" in data.splits else "val"
    return {name: _cut(data.splits[split], data.classes) for name, split in (("train", "train"), ("test", test))}


def _cut(split: Split, classes: Sequence[str]) -> Cutouts:
    if split.folder is None or split.marks is None or not len(split.marks):
        raise ValueError("foregrounds from a folder need masks: FOLDER/masks with the images' relative paths")
    colours: list[_Array | None] = []
    opacity: list[_Array] = []
    names = []
    for sample, label, mask in zip(split.marks.samples, split.marks.labels, split.marks.masks, strict=True):
        image = split.image(sample).numpy().astype(np.float32).transpose(1, 2, 0) / 255
        rows, columns = np.nonzero(mask.numpy())
        box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        colours.append(image[box])
        opacity.append(mask.numpy()[box].astype(np.float32))
        names.append(classes[label])
    return Cutouts(colours, opacity, names)


def compose(
    out: Path,
    foregrounds: Mapping[str, Cutouts],
    backgrounds: Mapping[str, Path],
    *,
    labels: Mapping[str, Sequence[str]] | None = None,
    rho: float = 0.95,
    size: int = 64,
    train: int = 4000,
    val: int = 500,
    test: int = 1000,
    seed: int = 0,
) -> None:
    """Write an image folder of foregrounds over backgrounds whose kind follows the class.

    OUT/train and OUT/val are biased: the background is of the class's own kind with probability `rho`, else of another
    kind. OUT/test_biased is drawn like them; in OUT/test_balanced every kind is as likely for every class, so its worst
    group reveals a shortcut. Foregrounds and photographs are divided between training and test. OUT/masks holds the
    foregrounds' masks, OUT/cues those of the backgrounds, OUT/groups.csv each image's class and kind.

    Args:
        out: a folder that does not exist yet.
        foregrounds: see `cutouts_of`.
        backgrounds: kind -> folder of photographs (searched below it too), at least two kinds.
        labels: class -> the foreground classes it is made of; one class per foreground class if not given. The class
            at place c has the kind at place c modulo the number of kinds.
        rho: probability that kind and class agree, in training.
        size: side of the images in pixels.
        train: number of training images.
        val: number of validation images.
        test: number of images in each test split.
        seed: seed of everything drawn.

    Raises:
        ValueError: if `out` exists, a folder holds no photographs, a label names no foreground class, or a split
            would lack a class. Nothing is left behind then.
    """
    if out.exists():
        raise ValueError(f"{out} exists already; choose another --out")
    labels = labels or {name: [name] for name in _known(foregrounds)}
    sizes = {"train": train, "val": val, "test_biased": test, "test_balanced": test}
    _check_numbers(rho, size, sizes, len(labels), len(backgrounds))
    _check_labels(labels, foregrounds)
    rng = np.random.default_rng(seed)
    photographs = {kind: _photographs(folder) for kind, folder in backgrounds.items()}
    painters = {
        pool: _Painter(foregrounds[pool], labels, {kind: found[pool] for kind, found in photographs.items()}, size)
        for pool in ("train", "test")
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary,
        tqdm(total=sum(sizes.values()), desc="composing", disable=None, leave=False) as bar,
    ):
        whole = Path(temporary) / out.name
        groups = [("path", "group")]
        for split, count in sizes.items():
            painter = painters["test" if split.startswith("test") else "train"]
            agree = 1 / len(backgrounds) if split == "test_balanced" else rho
            for number in range(count):
                name = list(labels)[number % len(labels)]
                kind = painter.kind_of(name, agree, rng)
                path = Path(split) / name / f"{number:05d}.png"
                image, mask = painter.paint(name, kind, rng)
                for folder, pixels in {whole: image, whole / "masks": mask, whole / "cues": 255 - mask}.items():
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(folder / path)
                groups.append((path.as_posix(), f"{name} on {kind}"))
                bar.update()
        with (whole / "groups.csv").open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows(groups)
        whole.rename(out)


def _known(foregrounds: Mapping[str, Cutouts]) -> list[str]:
    """Return the foreground classes."""
    return sorted({name for cutouts in foregrounds.values() for name in cutouts.classes})


def _check_numbers(rho: float, size: int, sizes: Mapping[str, int], classes: int, kinds: int) -> None:
    """Raise ValueError for numbers of which nothing can be made."""
    if not 0 <= rho <= 1:
        raise ValueError(f"rho must be a probability, 0 to 1; got {rho}")
    if kinds < 2:
        raise ValueError(f"backgrounds must be of at least two kinds, KIND=FOLDER each; got {kinds}")
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}")
    if size > _LARGEST:
        raise ValueError(f"size must be at most {_LARGEST:,} pixels; got {size:,}")
    for split, count in sizes.items():
        if count < classes:
            raise ValueError(f"{split} must have an image of each of the {classes} classes; got {count}")


def _check_labels(labels: Mapping[str, Sequence[str]], foregrounds: Mapping[str, Cutouts]) -> None:
    """Raise ValueError for classes that have no foregrounds, or cannot have a folder."""
    known = _known(foregrounds)
    for name, members in labels.items():
        check_class_folder(name)
        for member in members:
            if member not in known:
                raise ValueError(f"label {name!r} names {member!r}, which is no foreground class: {', '.join(known)}")
        for pool, cutouts in foregrounds.items():
            if not set(members) & set(cutouts.classes):
                raise ValueError(f"label {name!r} has no foreground for {pool}: none of {', '.join(members)}")
    if len(labels) < 2:
        raise ValueError(f"labels must be at least two classes; got {', '.join(labels) or 'none'}")


def _photographs(folder: Path) -> dict[str, list[Path]]:
    """Return a folder's images for training (two of three) and test, by name, so that a folder is always cut alike."""
    if not folder.is_dir():
        raise ValueError(f"background folder {folder} does not exist")
    found = find_images(folder)
    if len(found) < 3:
        raise ValueError(f"background folder {folder} must hold at least three photographs; found {len(found)}")
    return {"train": [p for i, p in enumerate(found) if i % 3], "test": found[::3]}


class _Painter:
    def __init__(
        self,
        cutouts: Cutouts,
        labels: Mapping[str, Sequence[str]],
        photographs: Mapping[str, Sequence[Path]],
        size: int,
    ) -> None:
        self.cutouts, self.labels, self.photographs, self.size = cutouts, labels, photographs, size
        self.places = {
            name: [i for i, owner in enumerate(cutouts.classes) if owner in members] for name, members in labels.items()
        }
        self.read: dict[Path, _Array] = {}
        self.crop = v2.Compose([v2.Resize(size, antialias=True), v2.CenterCrop(size)])

    def kind_of(self, name: str, agree: float, rng: np.random.Generator) -> str:
        """Draw the class's own kind with probability `agree`, else one of the others."""
        kinds = list(self.photographs)
        own = list(self.labels).index(name) % len(kinds)
        if rng.random() < agree:
            return kinds[own]
        return kinds[(own + int(rng.integers(1, len(kinds)))) % len(kinds)]

    def paint(
        self, name: str, kind: str, rng: np.random.Generator
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return an image (size, size, 3) and its mask (size, size), 255 inside."""
        path = self.photographs[kind][int(rng.integers(len(self.photographs[kind])))]
        if path not in self.read:
            pixels = self.crop(read_image(path)).permute(1, 2, 0).numpy()
            self.read[path] = pixels.astype(np.float32) / 255
        canvas = self.read[path].copy()
        if rng.random() < 0.5:
            canvas = canvas[:, ::-1].copy()
        place = self.places[name][int(rng.integers(len(self.places[name])))]
        alpha, colours = self.cutouts.opacity[place], self.cutouts.colours[place]
        scale = rng.uniform(*_SHARES) * self.size / max(alpha.shape)
        height, width = (min(max(round(side * scale), 1), self.size) for side in alpha.shape)
        alpha = _resize(alpha[..., None], (height, width))
        shown = (0.7 + 0.3 * rng.random(3)) if colours is None else _resize(colours, (height, width))
        row, column = (int(rng.integers(0, self.size - side + 1)) for side in (height, width))
        area = canvas[row : row + height, column : column + width]
        area += alpha * (shown - area)
        mask = np.zeros((self.size, self.size), np.uint8)
        mask[row : row + height, column : column + width] = 255 * (alpha[..., 0] > 0.25)
        return (canvas.clip(0, 1) * 255).round().astype(np.uint8), mask


def _resize(image: _Array, size: tuple[int, int]) -> _Array:
    """Return an image (h, w, C) brought to `size`."""
    tensor = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    resized: _Array = v2.functional.resize(tensor, list(size), antialias=True).permute(1, 2, 0).numpy()
    return resized
