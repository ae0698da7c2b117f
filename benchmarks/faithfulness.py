"""Faithfulness metrics, beside pytorch-grad-cam's and Quantus' on the same images, network and maps.

Sizes are multiples of 12 that end in 2 or 8: a step of Quantus' is then a whole number of pixels, and
pytorch-grad-cam's percentiles remove as many pixels as looksharp's shares. Of Quantus, which need not be installed,
pixel flipping is compared alone: its ROAD fails on images with colours. "forwards alone" are those that looksharp
needs, without anything else: no metric that asks the network as often can take less.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import torch
from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence
from pytorch_grad_cam.metrics.perturbation_confidence import (
    AveragerAcrossThresholds,
    PerturbationConfidenceMetric,
    RemoveLeastRelevantFirst,
    RemoveMostRelevantFirst,
)
from pytorch_grad_cam.metrics.road import NoisyLinearImputer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget
from torch import Tensor, nn

from benchmarks.network import random_network
from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp import attend, resize_maps
from looksharp.metrics.faithfulness import average_drop, deletion_curve, road

_STEPS = 48  # of deletion
_PERCENTILES = (20, 30, 40, 50, 60, 70, 80)
_BATCH = 64  # images a forward

Tasks = dict[str, Callable[[], np.ndarray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=72, rounds=3)
    parser.set_defaults(backbones=["resnet18"], batch=16)
    options = parser.parse_args()
    if options.size % 12 or options.size % 10 not in (2, 8):
        parser.error(f"--size must be a multiple of 12 that ends in 2 or 8, such as 72 and 108; got {options.size}")
    warnings.filterwarnings("ignore")  # of the peers
    device = chosen_device(options)
    peers = ["grad-cam", *(["quantus"] if find_spec("quantus") else [])]
    print(f"{hardware(device, 'timm', *peers)}\n\n{options.batch} images of {options.size} px, eval mode")
    for backbone in options.backbones:
        torch.manual_seed(0)
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        model = random_network(backbone, images, 10).eval()
        [module for module in model.modules() if isinstance(module, nn.Linear)][-1].weight.data.mul_(10)  # less unsure
        maps, classes = _maps(model, images)
        for title, tasks, forwards in (
            (f"deletion, {_STEPS} steps", _deletion(model, images, maps, classes), _STEPS + 1),
            (f"ROAD, {len(_PERCENTILES)} shares", _road(model, images, maps, classes), 2 * len(_PERCENTILES)),
            ("average drop and increase", _drop(model, images, maps, classes), 2),
        ):
            print(f"\n**{backbone}, {title}**\n\n{_agreement(tasks)}\n")
            timed: dict[str, Callable[[], object]] = {
                "forwards alone": partial(_forwards, model, images, forwards),
                **{name: task for name, task in tasks.items() if name in ("looksharp", *(options.only or tasks))},
            }
            print(table(measure(timed, options.rounds, device, warmup=0), "looksharp"), flush=True)


def _maps(model: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Maps in [0, 1] at the images' size, and the most probable classes.

    A map is the order of Grad-CAM's values, in which no two pixels are equal: each library orders those in its own way.
    """
    found = attend(model, images, signed=True)
    maps = resize_maps(next(iter(found.maps.values()))[:, 0], (images.shape[-2], images.shape[-1])).flatten(1)
    order = maps.argsort(1).argsort(1) / (maps.shape[1] - 1)
    return order.view(len(images), *images.shape[-2:]), found.classes[:, 0]


@torch.no_grad()
def _forwards(model: nn.Module, images: Tensor, number: int) -> None:
    for chunk in images.repeat(number, 1, 1, 1).split(_BATCH):
        model(chunk)


def _deletion(model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor) -> Tasks:
    def looksharp() -> np.ndarray:
        curve = deletion_curve(model, images, maps, classes, steps=_STEPS, batch_size=_BATCH)
        return curve.probabilities[:, 1:].cpu().numpy()  # pixel flipping leaves out the whole image

    if not find_spec("quantus"):
        return {"looksharp": looksharp}
    quantus = import_module("quantus")
    features = images[0].numel() // _STEPS
    flipping = quantus.PixelFlipping(features, perturb_baseline=0.0, normalise=False, disable_warnings=True)
    arrays = [each.cpu().numpy() for each in (images, classes, maps.unsqueeze(1))]

    def peer() -> np.ndarray:
        return np.array(flipping(model, *arrays, softmax=True, device=images.device.type, batch_size=_BATCH))

    return {"looksharp": looksharp, "Quantus, pixel flipping": peer}


def _road(model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor) -> Tasks:
    """Without noise, which pytorch-grad-cam draws anew in each call."""
    targets, array = [ClassifierOutputSoftmaxTarget(c) for c in classes.tolist()], maps.cpu().numpy()

    def averaged(remove: Callable[[int, NoisyLinearImputer], object]) -> Callable[..., np.ndarray]:
        return AveragerAcrossThresholds(
            lambda percentile: PerturbationConfidenceMetric(remove(percentile, NoisyLinearImputer(noise=0))),
            _PERCENTILES,
        )

    most, least = averaged(RemoveMostRelevantFirst), averaged(RemoveLeastRelevantFirst)

    def looksharp() -> np.ndarray:
        shares = [percentile / 100 for percentile in _PERCENTILES]
        found = road(model, images, maps, classes, shares=shares, noise=0, batch_size=_BATCH)
        return found.combined().cpu().numpy()

    def peer() -> np.ndarray:
        return (least(images, array, targets, model) - most(images, array, targets, model)) / 2

    return {"looksharp": looksharp, "pytorch-grad-cam": peer}


def _drop(model: nn.Module, images: Tensor, maps: Tensor, classes: Tensor) -> Tasks:
    """As pytorch-grad-cam defines it, the drop not divided by the probability of the whole image."""
    targets, array = [ClassifierOutputSoftmaxTarget(c) for c in classes.tolist()], maps.cpu().numpy()
    with torch.no_grad():
        whole = model(images).softmax(1).gather(1, classes.unsqueeze(1)).squeeze(1)

    def looksharp() -> np.ndarray:
        found = average_drop(model, images, maps, classes, batch_size=_BATCH)
        return torch.stack([found.drop * whole, found.increase]).cpu().numpy() / 100

    def peer() -> np.ndarray:
        metrics = DropInConfidence(), IncreaseInConfidence()
        return np.stack([metric(images, array, targets, model) for metric in metrics])

    return {"looksharp": looksharp, "pytorch-grad-cam": peer}


def _agreement(tasks: Tasks) -> str:
    """How far each peer's values are from ours, at most, and how large ours are."""
    ours, *others = (task() for task in tasks.values())
    found = [f"{name} {np.abs(ours - theirs).max():.0e}" for name, theirs in zip(list(tasks)[1:], others, strict=True)]
    return f"Largest difference to looksharp's values ({ours.min():.2g} to {ours.max():.2g}): {', '.join(found)}"


if __name__ == "__main__":
    main()
