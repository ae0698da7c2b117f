"""Cures of digits with other cues, or none: every group is ticked, nobody looks.

- one_class: the patch has the colour of class 3 beside 3s and never beside others, where its colour is random.
- two_cues: the patch, and a tint of the whole image, digit included, each with the colour of the class.
- no_cue: the patch has a random colour.
- pasted_photographs: a photograph of one of ten places takes the patch's place.

`suspects` groups what a plain classifier reads, `cure` refuses what it refuses, and boxes of 60 images do the same
afterwards. Prints accuracy on every test split, for each way to break a cue, before and after.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import benchmarks.cue_sets  # noqa: F401 (the data sets of --sets)
from looksharp.curing.retraining import cure
from looksharp.data.build import DataConfig
from looksharp.suspects.choosing import suspects
from looksharp.suspects.finding import find_groups
from looksharp.suspects.writing import write_suspects
from looksharp.training.data import run_data
from looksharp.training.folder import Run, load_run
from looksharp.training.run import train
from looksharp.training.settings import RunConfig, TrainingConfig


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


if __name__ == "__main__":
    main()
