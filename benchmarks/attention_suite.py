"""What the suites of `looksharp evaluate` cost, beside one plain forward of the same images.

Random images, each with a box as its object's mask; the attention suite's row without masks is of the same images.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from benchmarks.network import random_network
from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp.data.sampling import InOrder
from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.evaluation import evaluate
from looksharp.marks.marks import Marks

_CLASSES = 100
_TARGETS = {"attention": 2.5, "attention, no masks": 2.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=224, rounds=9)
    parser.add_argument("--batches", type=int, default=2)
    options = parser.parse_args()
    device = chosen_device(options)
    pixels, split = Pixels((options.size, options.size)), _split(options.batch * options.batches, options.size)
    print(f"{hardware(device, 'timm')}\n\n{options.batches} batches of {options.batch}, {options.size} px, eval mode")
    for backbone in options.backbones:
        model = random_network(backbone, pixels.normalize(split.images[: options.batch]).to(device), _CLASSES).eval()
        run = partial(evaluate, model, pixels=pixels, batch_size=options.batch)
        tasks: dict[str, Callable[[], object]] = {
            "forward": partial(_forwards, model, split, pixels, options.batch),
            "classification": partial(run, split, suites=["classification"]),
            "attention, no masks": partial(run, replace(split, marks=None), suites=["attention"]),
            "attention": partial(run, split, suites=["attention"]),
            "classification and attention": partial(run, split),
            "boxes": partial(run, split, suites=["boxes"]),
        }
        tasks = {name: task for name, task in tasks.items() if name in ("forward", *(options.only or tasks))}
        times = measure(tasks, options.rounds, device, warmup=1)
        print(f"\n**{backbone}**\n\n{table(times, 'forward', _TARGETS)}", flush=True)


def _split(images: int, size: int) -> TensorSplit:
    """Random bytes; the object of each image is a box of a fifth of its area."""
    torch.manual_seed(0)
    targets = torch.randint(0, _CLASSES, (images,))
    masks = torch.zeros(images, size, size, dtype=torch.bool)
    masks[:, size // 4 : size // 4 + size // 2, size // 3 : size // 3 + 2 * size // 5] = True
    marks = Marks(range(images), targets.tolist(), masks)
    pixels = torch.randint(0, 256, (images, 3, size, size), dtype=torch.uint8)
    return TensorSplit(targets=targets, marks=marks, images=pixels)


@torch.no_grad()
def _forwards(model: nn.Module, split: TensorSplit, pixels: Pixels, batch_size: int) -> None:
    device = next(model.parameters()).device
    for batch in split.loader(InOrder(len(split), batch_size), pixels, device=device):
        model(batch.image)


if __name__ == "__main__":
    main()
