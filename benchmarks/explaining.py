"""Maps of a folder of images: images per second and peak memory, beside a plain forward loop and the peers.

Every contender runs in a process of its own, with one loader, network and batch size, in rounds that are interleaved.
Each keeps freed memory as looksharp's command does; --give_back leaves that to the C library, as without the command.
looksharp writes the maps of five classes of each image to Parquet. The peers make one map of the highest-scoring class
and write nothing. A batch goes before, uncounted, so that nothing is loaded or searched for in the seconds that count.
Processor seconds are given too, since other work on the machine changes them less.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.network import random_network
from benchmarks.timing import hardware
from looksharp import ManySettings, Pixels, RunConfig, explain_many
from looksharp.cli.memory import keep_memory
from looksharp.data.loose import loose_images
from looksharp.data.sampling import InOrder
from looksharp.data.splits.files import FileSplit
from looksharp.training import Run


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbone", default="resnet50", help="a timm name")
    parser.add_argument("--images", type=int, default=48)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="images; noise of 320 x 256 pixels if not given")
    parser.add_argument("--only", nargs="+", default=None, help="contenders beside the plain loop; all if not given")
    parser.add_argument("--give_back", action="store_true", help="let the C library give freed memory back")
    parser.add_argument("--contender", default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender is not None:
        print(json.dumps(_measured(options)))
        return
    print(f"{hardware(torch.device('cpu'), 'timm', 'grad-cam', 'torchcam', 'captum', 'pyarrow')}\n")
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or _noise(Path(made), options.images)
        names = [name for name in _CONTENDERS if name in ("plain", *(options.only or _CONTENDERS))]
        rounds = [{name: _started(options, folder, name) for name in names} for _ in range(options.rounds)]
    print(f"{options.backbone}, {options.size} px, batch {options.batch}, {options.workers} workers\n")
    print(
        "| | images | images/s | processor s per image | throughput / plain, median | the same of processor s | peak |"
    )
    print("|---|---|---|---|---|---|---|")
    for name in names:
        found = [each[name] for each in rounds]
        wall, spent = (
            statistics.median(each["plain"][kind] / each[name][kind] for each in rounds) for kind in ("wall", "spent")
        )
        rate = statistics.median(one["images"] / one["wall"] for one in found)
        cost = statistics.median(one["spent"] / one["images"] for one in found)
        peak = max(one["peak"] for one in found)
        print(f"| {name} | {options.images} | {rate:.2f} | {cost:.3f} | {wall:.2f} | {spent:.2f} | {peak:.0f} MB |")


def _noise(folder: Path, count: int) -> Path:
    drawn = np.random.default_rng(0)
    for number in range(count):
        pixels = drawn.integers(0, 255, (256, 320, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:05d}.jpg", quality=80)
    return folder


def _started(options: argparse.Namespace, folder: Path, contender: str) -> dict[str, float]:
    given = {name: getattr(options, name) for name in ("backbone", "images", "size", "batch", "workers")}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.explaining", *flags, "--folder", str(folder)]
    command += ["--give_back"] if options.give_back else []
    done = subprocess.run([*command, "--contender", contender], check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"{contender}: {found}", file=sys.stderr, flush=True)
    return found


def _measured(options: argparse.Namespace) -> dict[str, float]:
    """Seconds, processor seconds and peak memory in MB of one contender over the folder."""
    if not options.give_back:
        keep_memory()
    torch.manual_seed(0)
    model = random_network(options.backbone, torch.randn(2, 3, options.size, options.size), 1000).eval()
    split, pixels = loose_images([options.folder]), Pixels((options.size, options.size))
    split = split.taken(range(min(options.images, len(split))))
    first = split.taken(range(min(options.batch, len(split))))
    names = tuple(f"class {number}" for number in range(1000))
    run = Run(None, RunConfig(), model, names, pixels, multilabel=False, seconds=0.0)

    _CONTENDERS[options.contender](run, first, options)()
    work = _CONTENDERS[options.contender](run, split, options)
    started, before = time.perf_counter(), _processor_seconds()
    work()
    wall, spent = time.perf_counter() - started, _processor_seconds() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images": len(split), "wall": wall, "spent": spent, "peak": peak}


def _processor_seconds() -> float:
    found = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in found)


Contender = Callable[[Run, FileSplit, argparse.Namespace], Callable[[], object]]


def _batches(run: Run, split: FileSplit, options: argparse.Namespace) -> Iterator[Tensor]:
    for batch in split.loader(InOrder(len(split), options.batch), run.pixels, workers=options.workers):
        yield batch.image


def _plain(run: Run, split: FileSplit, options: argparse.Namespace) -> Callable[[], object]:
    @torch.no_grad()
    def work() -> None:
        for images in _batches(run, split, options):
            run.model(images)

    return work


def _looksharp(run: Run, split: FileSplit, options: argparse.Namespace) -> Callable[[], object]:
    settings = ManySettings(shard_size=16, batch_size=options.batch, workers=options.workers)

    def work() -> None:
        with tempfile.TemporaryDirectory() as out:
            explain_many(run, split, Path(out) / "maps", settings, progress=False)

    return work


def _grad_cam(run: Run, split: FileSplit, options: argparse.Namespace) -> Callable[[], object]:
    from pytorch_grad_cam import GradCAM

    def work() -> None:
        with GradCAM(run.model, [_last(run.model)]) as cam:
            for images in _batches(run, split, options):
                cam(images, None)

    return work


def _torch_cam(run: Run, split: FileSplit, options: argparse.Namespace) -> Callable[[], object]:
    from torchcam.methods import GradCAM

    def work() -> None:
        with GradCAM(run.model, _last(run.model)) as cam:
            for images in _batches(run, split, options):
                logits = run.model(images)
                cam(logits.argmax(1).tolist(), logits)

    return work


def _captum(run: Run, split: FileSplit, options: argparse.Namespace) -> Callable[[], object]:
    from captum.attr import LayerGradCam

    def work() -> None:
        explained = LayerGradCam(run.model, _last(run.model))
        for images in _batches(run, split, options):
            with torch.no_grad():
                best = run.model(images).argmax(1)
            explained.attribute(images, best, relu_attributions=True)

    return work


def _last(model: nn.Module) -> nn.Module:
    from looksharp import last_stages

    return model.get_submodule(last_stages(model, torch.zeros(1, 3, 224, 224), 1)[0])


_CONTENDERS: dict[str, Contender] = {
    "plain": _plain,
    "looksharp": _looksharp,
    "pytorch-grad-cam": _grad_cam,
    "torch-cam": _torch_cam,
    "captum": _captum,
}


if __name__ == "__main__":
    main()
