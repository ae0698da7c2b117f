"""What an epoch of each of the studio's methods takes beside a plain one, and a whole cure beside its estimate.

On biased digits, with their own masks as marks of 60 images, and the groups of suspects that decide as ticks. The
factors are those of `looksharp.studio.methods`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.timing import hardware
from looksharp.data.build import build_data
from looksharp.data.mark_names import held_name, mark_sizes
from looksharp.studio.cure_jobs import CureChoice, planned
from looksharp.studio.estimates import epoch_seconds, estimated
from looksharp.studio.mark_store import MarkStore
from looksharp.studio.methods import METHODS
from looksharp.studio.settings import StudioSettings
from looksharp.studio.ticked import Ticked
from looksharp.suspects.groups import read_groups
from looksharp.training.folder import read_config
from looksharp.training.history import read_history

_MARKED = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["small", "small_deep"])
    parser.add_argument("--train", type=int, default=2000, help="training images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    print(hardware(torch.device("cpu")))
    print("\n| network | method | epoch, s | of a plain one | whole, s | estimated, s |\n|---|---|---|---|---|---|")
    for backbone in options.backbones:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), backbone, options)


def _measure(folder: Path, backbone: str, options: argparse.Namespace) -> None:
    run, images = folder / "run", {"train": options.train, "val": options.train // 6, "test": options.train // 3}
    flags = [part for name, count in images.items() for part in (f"--biased_digits.{name}", str(count))]
    flags += ["--backbone", backbone, "--epochs", str(options.epochs), "--out", str(run), "--device", "cpu"]
    _call("train", "--data", "biased_digits", *flags)
    ticked = _prepare(run)
    plain = epoch_seconds(read_history(run / "metrics.csv"))
    assert plain is not None
    print(f"| {backbone} | plain | {plain:.2f} | 1 | | |", flush=True)
    counts = images | {"test": 3 * images["test"]}
    for name in options.methods:
        job = folder / name
        job.mkdir()
        settings, choice = StudioSettings(run=run, device="cpu"), CureChoice(name, options.epochs, ticked=ticked)
        started = time.perf_counter()
        _call(*planned(choice, settings, run / "studio")(job))
        whole = time.perf_counter() - started
        epoch = epoch_seconds(read_history(job / "out" / "runs" / "cure" / "metrics.csv"))
        assert epoch is not None
        said = estimated(plain, counts, options.epochs, METHODS[name].cost)
        print(f"| {backbone} | {name} | {epoch:.2f} | {epoch / plain:.2f} | {whole:.0f} | {said:.0f} |", flush=True)


def _prepare(run: Path) -> Ticked:
    """Mark some images, find groups, and tick those that decide."""
    config = read_config(run)
    data = build_data(config.data, config.training.seed)
    train = data.splits["train"]
    store = MarkStore(run / "studio" / "marks.json", mark_sizes(train), data.classes)
    assert train.marks is not None
    for image in train.marks.images[:_MARKED]:
        for label, mask in train.marks.of(image):
            store.add_mask(held_name(image), data.classes[label], mask.bool().numpy())
    _call("suspects", str(run), "-n", "32", "--out", str(run / "studio" / "suspects"), "--device", "cpu")
    groups = read_groups(run / "studio" / "suspects" / "groups.json")
    return Ticked(shortcut=tuple(group.number for group in groups if group.verdict == "decides"))


def _call(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "looksharp.cli", *arguments], check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"looksharp {' '.join(arguments)}:\n{done.stderr[-2000:]}")


if __name__ == "__main__":
    main()
