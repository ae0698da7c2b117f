"""Real handwritten digits among clutter, their masks known, made from a seed; and the same with a false cue.

The digits are scikit-learn's (1,797 images of 8 x 8 by 43 writers, shipped with the package), so attention can
be trained, biased, cured and *measured* without a download.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from annotated_types import Ge, Le
from numpy.lib.stride_tricks import sliding_window_view
from torch.nn import functional as F
from tqdm import tqdm

from looksharp.data.registry import data_set
from looksharp.data.split import Data, Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks

__all__ = ["PALETTE", "Count", "biased_digits", "digits", "handwriting", "windows"]

Count = Annotated[int, Ge(1), Le(500_000)]
"""A number of images."""

_Image = npt.NDArray[np.float32]
_Bytes = npt.NDArray[np.uint8]
_Masks = npt.NDArray[np.bool_]
_Whole = npt.NDArray[np.int64]

_SIDE = 48
_DIGIT = (24, 33)  # a digit's side, smallest and one past the largest
_PATCH = 8
_CLUTTER = (4, 8)  # how many fragments, fewest and one past the most
_FRAGMENT = (6, 11)  # a fragment's side, smallest and one past the largest
_NOISE = 0.03  # of white
_NOISE_STRIP = 1 << 20  # numbers from which every image's noise is cut: as many as 150 images have pixels
_AT_ONCE = 1000  # images: their canvases take 28 MB

PALETTE: npt.NDArray[np.float32] = np.array(
    [colorsys.hsv_to_rgb(i / 10, 1.0, 0.55 if i % 2 else 1.0) for i in range(10)], dtype=np.float32
)
"""The cue's colour for each of the ten digits, RGB in [0, 1]."""


@data_set("digits")
def digits(train: Count = 6000, val: Count = 1000, test: Count = 2000, seed: int = 0) -> Data:
    """Make digits 0 to 9 on 48 px colour canvases among fragments of other digits, with masks.

    Writers' images are divided between the splits once and for all (70 : 10 : 20, by a fixed permutation), so no
    handwriting is in two splits whatever the seed; place, size, colour and clutter are drawn from `seed`.

    Args:
        train: number of training images.
        val: number of validation images.
        test: number of test images.
        seed: seed of all that is drawn.
    """
    sizes = {"train": train, "val": val, "test": test}
    splits = {}
    for number, (name, size) in enumerate(sizes.items()):
        rng = np.random.default_rng([seed, number])
        images, targets, masks, _ = _canvases(name, size, rng)
        splits[name] = _split(images, targets, masks)
    return _data("digits", splits)


@data_set("biased_digits")
def biased_digits(rho: float = 0.98, train: Count = 6000, val: Count = 1000, test: Count = 2000, seed: int = 0) -> Data:
    """Make the same digits with a cue: a patch beside each, its colour that of the class with probability `rho`.

    Training and validation images are biased. The three test splits show the *same* canvases and differ in the
    patch's colour alone: "biased" as in training, "unbiased" drawn at random from all ten, "conflicting" always
    another class's. A classifier that reads only the patch scores about rho, .1 and 0 there. Every split's `cues` are
    the patches, each with the class that its colour stands for.

    Args:
        rho: probability that the colour is the class's, in training; otherwise it is drawn from all ten.
        train: number of training images.
        val: number of validation images.
        test: number of images in each test split.
        seed: seed of all that is drawn.

    Raises:
        ValueError: if `rho` is not a probability.
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"rho must be a probability, 0 to 1; got {rho}")
    splits = {}
    for number, (name, size) in enumerate({"train": train, "val": val, "test": test}.items()):
        rng = np.random.default_rng([seed, number])
        images, targets, masks, corners = _canvases(name, size, rng)
        follows = rng.random(size) < rho
        drawn = rng.integers(0, 10, size)
        others = (targets + rng.integers(1, 10, size)) % 10
        biased = np.where(follows, targets, drawn)
        cues = {"biased": biased, "unbiased": drawn, "conflicting": others} if name == "test" else {name: biased}
        for split, cue in cues.items():
            shown = images.copy()
            for image, (row, column), colour in zip(shown, corners, _as_bytes(PALETTE[cue]), strict=True):
                image[:, row : row + _PATCH, column : column + _PATCH] = colour[:, None, None]
            # Group 0: the cue agrees with the class; group 1: it does not.
            drawn_split = _split(shown, targets, masks, groups=(cue != targets).astype(np.int64))
            splits[split] = replace(drawn_split, cues=_patches(corners, cue))
    data = _data(f"biased_digits, rho {rho:g}", splits)
    return Data(data.name, data.classes, data.splits, data.pixels, data.augment, ("cue agrees", "cue disagrees"))


def _patches(corners: _Whole, cue: _Whole) -> Marks:
    masks = torch.zeros(len(corners), _SIDE, _SIDE, dtype=torch.bool)
    for mask, (row, column) in zip(masks, corners, strict=True):
        mask[row : row + _PATCH, column : column + _PATCH] = True
    return Marks(range(len(masks)), cue.tolist(), masks)


def _data(name: str, splits: dict[str, TensorSplit]) -> Data:
    pixels = Pixels((_SIDE, _SIDE), mean=(0.4, 0.4, 0.4), std=(0.25, 0.25, 0.25))
    return Data(name, tuple("0123456789"), dict(splits), pixels, augment="none")


def _split(images: _Bytes, targets: _Whole, masks: _Masks, groups: _Whole | None = None) -> TensorSplit:
    labels = torch.from_numpy(targets)
    return TensorSplit(
        targets=labels,
        marks=Marks(range(len(labels)), targets.tolist(), torch.from_numpy(masks)),
        groups=None if groups is None else torch.from_numpy(groups),
        images=torch.from_numpy(images),
    )


def handwriting(split: str) -> tuple[_Image, _Whole]:
    """Return the split's share of scikit-learn's digits, in [0, 1], and their classes."""
    table = _scanned()
    order = np.random.default_rng(0).permutation(len(table))
    start, stop = {"train": (0, 0.7), "val": (0.7, 0.8), "test": (0.8, 1)}[split]
    chosen = table[order[int(start * len(order)) : int(stop * len(order))]]
    return (chosen[:, :-1].reshape(-1, 8, 8) / 16).astype(np.float32), chosen[:, -1].astype(np.int64)


@cache
def _scanned() -> npt.NDArray[np.float64]:
    """Read the file behind scikit-learn's `load_digits`, whose import takes a second: 64 pixels and a class a row."""
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("digits need scikit-learn, which is not installed")
    return np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")


def _canvases(split: str, count: int, rng: np.random.Generator) -> tuple[_Bytes, _Whole, _Masks, _Whole]:
    """Draw images (N, 3, 48, 48), classes (N,), digits' masks (N, 48, 48), corners of a free patch (N, 2)."""
    strokes, labels = handwriting(split)
    enlarged = {
        side: F.interpolate(torch.from_numpy(strokes)[:, None], (side, side), mode="bicubic")[:, 0].clamp(0, 1).numpy()
        for side in range(*_DIGIT)
    }
    chosen = rng.integers(0, len(labels), count)
    images = np.empty((count, 3, _SIDE, _SIDE), np.uint8)
    masks = np.zeros((count, _SIDE, _SIDE), np.bool_)
    corners = np.empty((count, 2), np.int64)
    pixels = images[0].size
    noise = sliding_window_view(_NOISE * rng.standard_normal(min(_NOISE_STRIP, count * pixels), np.float32), pixels)
    with tqdm(total=count, desc=f"drawing {split} images", disable=count < 20_000, leave=False) as progress:
        for start in range(0, count, _AT_ONCE):
            part = slice(start, min(start + _AT_ONCE, count))
            n = part.stop - start
            canvases = np.empty((n, *images.shape[1:]), np.float32)
            canvases[:] = 0.5 * rng.random((n, 3, 1, 1), np.float32)
            _paint_clutter(canvases, enlarged, rng)
            sides = rng.integers(*_DIGIT, n)
            places = _places(_SIDE - sides, rng)
            for which, side in _alike(sides):
                alpha, at = enlarged[side][chosen[part][which]], (which, *places[which].T)
                _paint(canvases, alpha, _colours(len(which), rng), *at)
                windows(masks[part], side)[at] = alpha > 0.25
            canvases += noise[rng.integers(0, len(noise), n)].reshape(canvases.shape)
            images[part] = _as_bytes(canvases.clip(0, 1, out=canvases))
            corners[part] = _free_corners(places, sides, rng)
            progress.update(n)
    return images, labels[chosen], masks, corners


def _as_bytes(colours: _Image) -> _Bytes:
    return (colours * 255).round().astype(np.uint8)


def _places(last: _Whole, rng: np.random.Generator) -> _Whole:
    """Draw rows and columns (N, 2), each from 0 to `last` (N,)."""
    return rng.integers(0, last[:, None] + 1, (len(last), 2))


def _colours(count: int, rng: np.random.Generator) -> _Image:
    """Draw light colours (N, 3), told apart from the dark backgrounds and from no class in particular."""
    return 0.55 + 0.45 * rng.random((count, 3), np.float32)


def _alike(sizes: _Whole) -> Iterator[tuple[_Whole, int]]:
    """Yield the places of each size, and the size."""
    for size in np.unique(sizes).tolist():
        yield np.flatnonzero(sizes == size), size


def windows(canvases: npt.NDArray[Any], side: int) -> npt.NDArray[Any]:
    """Return every square of canvases (..., H, W) by its upper left corner: a view (..., rows, columns, side, side)."""
    found: npt.NDArray[Any] = sliding_window_view(canvases, (side, side), axis=(-2, -1), writeable=True)
    return found


def _paint(canvases: _Image, alpha: _Image, colours: _Image, which: _Whole, rows: _Whole, columns: _Whole) -> None:
    """Paint squares (K, side, side), as opaque as `alpha`, each onto its canvas at its corner."""
    areas, at = windows(canvases, alpha.shape[-1]), (which, slice(None), rows, columns)
    under = areas[at]  # (K, 3, side, side)
    areas[at] = under + alpha[:, None] * (colours[:, :, None, None] - under)


def _paint_clutter(canvases: _Image, enlarged: dict[int, _Image], rng: np.random.Generator) -> None:
    """Paint pieces of other digits onto the canvases, a number drawn for each."""
    counts = rng.integers(*_CLUTTER, len(canvases))
    for turn in range(counts.max()):
        which = np.flatnonzero(counts > turn)
        sides, sizes = rng.integers(*_DIGIT, len(which)), rng.integers(*_FRAGMENT, len(which))
        digits, colours = rng.integers(0, len(enlarged[_DIGIT[0]]), len(which)), _colours(len(which), rng)
        cut, at = _places(sides - sizes, rng), _places(_SIDE - sizes, rng)
        for same, size in _alike(sizes):
            alpha = np.empty((len(same), size, size), np.float32)
            for within, side in _alike(sides[same]):
                chosen = same[within]
                alpha[within] = windows(enlarged[side], size)[digits[chosen], *cut[chosen].T]
            _paint(canvases, alpha, colours[same], which[same], *at[same].T)


def _free_corners(places: _Whole, sides: _Whole, rng: np.random.Generator) -> _Whole:
    """Draw corners (N, 2) from which a patch fits on the canvas without touching the digit's square."""
    corners, near = np.empty_like(places), np.arange(len(places))
    while len(near):
        corners[near] = rng.integers(0, _SIDE - _PATCH + 1, (len(near), 2))
        drawn, square = corners[near], places[near]
        apart = (drawn + _PATCH <= square) | (drawn >= square + sides[near][:, None])
        near = near[~apart.any(1)]
    return corners
