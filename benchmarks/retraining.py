"""What an epoch of each of the studio's methods takes beside a plain one, and a whole cure beside its estimate.

On biased digits, with their own masks as marks of 60 images, and their own patches as two groups that are ticked.
Seconds are those of the processor, which other programs do not stretch, with one thread and all in one process.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch

from benchmarks.timing import hardware
from looksharp import cli
from looksharp.curing import refusing
from looksharp.data.build import build_data
from looksharp.data.mark_names import held_name, mark_sizes
from looksharp.evaluation.fingerprint import model_fingerprint
from looksharp.studio.cure_jobs import CureChoice, planned
from looksharp.studio.estimates import epoch_seconds, estimated
from looksharp.studio.mark_store import MarkStore
from looksharp.studio.methods import METHODS
from looksharp.studio.settings import StudioSettings
from looksharp.studio.ticked import Ticked
from looksharp.suspects.groups import Group, Groups, Region, images_fingerprint, write_groups
from looksharp.training import history
from looksharp.training.folder import load_run, read_config
from looksharp.training.history import read_history

_MARKED = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["small", "small_deep"])
    parser.add_argument("--train", type=int, default=600, help="training images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(hardware(torch.device("cpu")))
    print("\n| network | method | epoch, s | of a plain one | whole, s | estimated, s |\n|---|---|---|---|---|---|")
    with (
        patch.object(history, "time", SimpleNamespace(perf_counter=time.process_time)),  # the clock of metrics.csv
        patch.object(refusing, "FOLLOWED", -math.inf),  # a network that has hardly learnt follows no piece
        patch.object(refusing, "ELSEWHERE", math.inf),
    ):
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
        started = time.process_time()
        _call(*planned(choice, settings, run / "studio")(job))
        whole = time.process_time() - started
        epoch = epoch_seconds(read_history(job / "out" / "runs" / "cure" / "metrics.csv"))
        assert epoch is not None
        said = estimated(plain, counts, options.epochs, METHODS[name].cost, before=METHODS[name].before)
        print(f"| {backbone} | {name} | {epoch:.2f} | {epoch / plain:.2f} | {whole:.0f} | {said:.0f} |", flush=True)


def _prepare(run: Path) -> Ticked:
    """Mark some images, and tick two groups of patches."""
    config = read_config(run)
    data = build_data(config.data, config.training.seed)
    train = data.splits["train"]
    store = MarkStore(run / "studio" / "marks.json", mark_sizes(train), data.classes)
    assert train.marks is not None
    for image in train.marks.images[:_MARKED]:
        for label, mask in train.marks.of(image):
            store.add_mask(held_name(image), data.classes[label], mask.bool().numpy())
    assert train.cues is not None
    found: tuple[list[Region], list[Region]] = ([], [])
    for image in train.cues.images:
        ((_, piece),) = train.cues.of(image)
        shown = data.classes[int(train.targets[image])]
        found[image % 2].append(Region.of(image, shown, piece))
    facts = (model_fingerprint(load_run(run, device="cpu").model), images_fingerprint(train, data.pixels), "train")
    groups = tuple(Group(number, tuple(regions)) for number, regions in enumerate(found, 1))
    path = run / "studio" / "suspects" / "groups.json"
    write_groups(path, Groups(None, *facts, data.pixels.size, data.classes, groups))
    return Ticked(shortcut=(1, 2))


def _call(*arguments: str) -> None:
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        status = cli.main(list(arguments))
    if status:
        raise SystemExit(f"looksharp {' '.join(arguments)}:\n{said.getvalue()[-2000:]}")


if __name__ == "__main__":
    main()
