"""Digits with other cues than a coloured patch that follows every class, as named data sets of this process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from looksharp.data.registry import data_set
from looksharp.data.sets.synthetic import PALETTE, biased_digits
from looksharp.data.split import Data
from looksharp.data.splits.memory import TensorSplit
from looksharp.marks.marks import Marks

__all__ = ["no_cue", "one_class", "pasted_photographs", "two_cues"]

_OWN = 3  # the class with a cue
_TINT = 60  # of 255
_TILE, _MOVED, _PASTED = 80, 12, 12  # pixels: a place of a photograph, how far it is moved, its side beside a digit


@data_set("one_class")
def one_class(rho: float = 0.98, seed: int = 0) -> Data:
    """Make digits whose patch tells one class, and nothing of the others."""
    data, rng = biased_digits(rho=0.0, seed=seed), np.random.default_rng([seed, 7])

    def split(name: str, source: str) -> TensorSplit:
        targets = data.splits[source].targets.numpy()
        others = rng.choice([colour for colour in range(10) if colour != _OWN], len(targets))
        colours = np.where((targets == _OWN) & (rng.random(len(targets)) < rho), _OWN, others)
        if name == "unbiased":
            colours = rng.integers(0, 10, len(targets))
        if name == "conflicting":
            colours = np.where(targets == _OWN, others, _OWN)
        return _painted(data, source, colours)

    return _split_up(data, {name: split(name, source) for name, source in _SOURCES.items()})


@data_set("two_cues")
def two_cues(rho: float = 0.98, seed: int = 0) -> Data:
    """Make digits with a patch and a tint, both of the class's colour, each with probability rho of its own."""
    data, rng = biased_digits(rho=0.0, seed=seed), np.random.default_rng([seed, 8])

    def split(name: str, source: str) -> TensorSplit:
        targets = data.splits[source].targets.numpy()
        drawn = rng.integers(0, 10, (2, len(targets)))
        patch, tint = np.where(rng.random((2, len(targets))) < rho, targets, drawn)
        patch = drawn[0] if name in ("patch_random", "unbiased") else patch
        tint = drawn[1] if name in ("tint_random", "unbiased") else tint
        return _painted(data, source, patch, tint)

    sources = _SOURCES | dict.fromkeys(("patch_random", "tint_random"), "unbiased")
    del sources["conflicting"]
    return _split_up(data, {name: split(name, source) for name, source in sources.items()})


@data_set("no_cue")
def no_cue(seed: int = 0) -> Data:
    """Make digits whose patch tells nothing."""
    return biased_digits(rho=0.0, seed=seed)


_SOURCES = {"train": "train", "val": "val"} | dict.fromkeys(("biased", "unbiased", "conflicting"), "unbiased")
"""Split -> the split of `biased_digits` whose canvases it shows."""


@data_set("pasted_photographs")
def pasted_photographs(rho: float = 0.98, seed: int = 0) -> Data:
    """Make digits with a small photograph beside each, of one of ten places; the class's with probability rho."""
    data, rng = biased_digits(rho=0.0, seed=seed), np.random.default_rng([seed, 9])
    pictures = [torch.tensor(load_sample_image(name)).permute(2, 0, 1) for name in ("china.jpg", "flower.jpg")]

    def split(name: str, source: str) -> TensorSplit:
        shown = data.splits[source]
        targets = shown.targets.numpy()
        drawn = rng.integers(0, 10, len(targets))
        places = np.where(rng.random(len(targets)) < rho, targets, drawn)
        if name == "unbiased":
            places = drawn
        if name == "conflicting":
            places = (targets + rng.integers(1, 10, len(targets))) % 10
        assert isinstance(shown, TensorSplit)
        assert shown.cues is not None
        images, masks = shown.images.clone(), torch.zeros(len(targets), *shown.images.shape[-2:], dtype=torch.bool)
        for number, place in enumerate(places.tolist()):
            ((_, patch),) = shown.cues.of(number)
            top, left = (min(int(axis.min()), 48 - _PASTED) for axis in torch.where(patch))
            images[number, :, top : top + _PASTED, left : left + _PASTED] = _photograph(pictures, place, rng)
            masks[number, top : top + _PASTED, left : left + _PASTED] = True
        cues = Marks(range(len(targets)), places.tolist(), masks)
        return replace(shown, images=images, groups=None, cues=cues)

    return _split_up(data, {name: split(name, source) for name, source in _SOURCES.items()})


def _photograph(pictures: list[Tensor], place: int, rng: np.random.Generator) -> Tensor:
    """Return (3, 12, 12) bytes: one of five places of each picture, moved and brightened a little."""
    picture = pictures[place % 2]
    top, left = (int(each) for each in rng.integers(0, _MOVED + 1, 2))
    top, left = top + 170 * (place // 2 % 2) + 60, left + 110 * (place // 2) + 20
    tile = picture[:, top : top + _TILE, left : left + _TILE].float()
    small = F.interpolate(tile[None], (_PASTED, _PASTED), mode="area")[0] * rng.uniform(0.8, 1.2)
    return small.clamp(0, 255).round().byte()


def _painted(data: Data, source: str, patch: np.ndarray, tint: np.ndarray | None = None) -> TensorSplit:
    """Return a split with patches, and tints if given, of these numbers in the palette."""
    split = data.splits[source]
    assert isinstance(split, TensorSplit)
    assert split.cues is not None
    images = split.images.clone()
    if tint is not None:
        shifts = torch.from_numpy((2 * PALETTE[tint] - 1) * _TINT)[:, :, None, None]
        images = (images.float() + shifts).clamp(0, 255).round().byte()
    masks = torch.stack([mask for image in split.cues.images for _, mask in split.cues.of(image)]).bool()
    colours = torch.from_numpy((PALETTE[patch] * 255).round().astype(np.uint8))[:, :, None, None]
    return replace(split, images=torch.where(masks.unsqueeze(1), colours, images), groups=None, cues=None)


def _split_up(data: Data, splits: dict[str, TensorSplit]) -> Data:
    return Data(data.name, data.classes, dict(splits), data.pixels, data.augment)
