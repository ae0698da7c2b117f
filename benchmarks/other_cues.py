"""Cures of digits with a cue in one class only, with two cues, and with none: every group is ticked, nobody looks.

- one_class: the patch has the colour of class 3 beside 3s and never beside others, where its colour is random.
- two_cues: the patch, and a tint of the whole image, digit included, each with the colour of the class.
- no_cue: the patch has a random colour.

`suspects` groups what a plain classifier reads, `cure` refuses what it refuses, and boxes of 60 images do the same
afterwards. Prints accuracy on every test split, for each way to break a cue, before and after.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from looksharp.curing.retraining import cure
from looksharp.data.build import DataConfig
from looksharp.data.registry import data_set
from looksharp.data.sets.synthetic import PALETTE, biased_digits
from looksharp.data.split import Data
from looksharp.data.splits.memory import TensorSplit
from looksharp.suspects.choosing import suspects
from looksharp.suspects.finding import find_groups
from looksharp.suspects.writing import write_suspects
from looksharp.training.data import run_data
from looksharp.training.folder import Run, load_run
from looksharp.training.run import train
from looksharp.training.settings import RunConfig, TrainingConfig

_OWN = 3  # the class with a cue
_TINT = 60  # of 255


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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=["one_class", "two_cues", "no_cue"])
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/other-cues"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.sets:
        folder = options.out / f"{name}-{options.seed}"
        run = _plain(name, folder / "plain", options)
        found = folder / "suspects"
        if not (found / "groups.json").is_file():
            data = run_data(run)
            chosen = suspects(run, data, 2 * len(data.classes), seed=options.seed, progress=False)
            groups = find_groups(run, data, chosen, seed=options.seed, progress=False)
            write_suspects(chosen, data, found, tested=groups)
        verdicts = [group["verdict"] for group in json.loads((found / "groups.json").read_text())["groups"]]
        print(f"\n**{name}**: groups by their test: { ({each: verdicts.count(each) for each in set(verdicts)}) }")
        ways = {"ticks": {"cues": found, "shortcut": "all"}, "boxes": {"marked": 60, "mark_boxes": True}}
        for way, given in ways.items():
            try:
                result = cure(run, out=folder / way, progress=False, device="cpu", **given)
            except ValueError as error:
                print(f"{way}: refused: {error}", flush=True)
                continue
            for column in (result.before, result.after):
                values = {split: round(each["top1"], 3) for split, each in column.splits.items()}
                proof = next(iter(column.interventions.values())).values
                alone = {each: round(proof[each], 3) for each in ("background_gap", "surroundings_only")}
                print(f"{way}, {column.name}: {values | alone}", flush=True)
            print(f"{way}: {result.verdict.kind}: {result.verdict.sentence}", flush=True)


def _plain(name: str, path: Path, options: argparse.Namespace) -> Run:
    training = TrainingConfig(
        epochs=options.epochs, augment="crop", precision=options.precision, seed=options.seed, device="cpu"
    )
    config = RunConfig(data=DataConfig(name), training=training)
    if not (path / "model.safetensors").is_file():
        train(config, path, resume=path.exists(), progress=False)
    return load_run(path, device="cpu")


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


if __name__ == "__main__":
    main()
