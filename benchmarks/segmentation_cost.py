"""What seeds, a step of SEC and the CRF cost, beside a forward, a cross-entropy step and pydensecrf2."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.network import random_network
from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp.attention.recording import record
from looksharp.attention.rerun import chunks
from looksharp.batch import Batch, BatchMarks
from looksharp.crf import CRFKernels, dense_crf
from looksharp.networks import build_classifier
from looksharp.networks.large_fov import background_and_classes
from looksharp.objectives import SEC
from looksharp.segmentation.whole_maps import WholeMaps

_CLASSES = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=321, rounds=5)
    options = parser.parse_args()
    device = chosen_device(options)
    print(hardware(device, "timm"))
    clock = time.process_time if device.type == "cpu" else time.perf_counter  # other work on a CPU does not count
    run = partial(measure, rounds=options.rounds, device=device, warmup=1, clock=clock)
    images = torch.randn(options.batch, 3, options.size, options.size, device=device)
    for backbone in options.backbones:
        print(f"\n**{backbone}**, {options.batch} images of {options.size} px", flush=True)
        times = run(_seed_tasks(backbone, images))
        print(f"\n{table(times, 'forward', {'maps': 1.3, 'maps and saliency': 1.3})}", flush=True)
        times = run(_step_tasks(backbone, images))
        print(f"\n{table(times, 'cross-entropy step', {'SEC step': 1.3})}", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"\nmost memory of the process so far: {peak:.1f} GiB", flush=True)
    for size, scale in (((41, 41), 12.0), ((213, 320), 2.0)):
        times = run(_crf_tasks(size, scale, device))
        print(f"\nCRF of 21 classes, {size[0]} x {size[1]} px\n\n{table(times, 'pydensecrf2', {})}", flush=True)


def _seed_tasks(backbone: str, images: Tensor) -> dict[str, Callable[[], object]]:
    size = (images.shape[-2], images.shape[-1])
    if "/" in backbone:  # torchvision's
        model: nn.Module = build_classifier(backbone, _CLASSES, image_size=size).to(images.device).eval()
    else:
        model = random_network(backbone, images, _CLASSES).eval()
    classes = torch.zeros(len(images), 1, dtype=torch.long, device=images.device)

    @torch.no_grad()
    def forward() -> Tensor:
        return torch.cat([model(images[places]) for places in chunks(len(images), images)])  # as fast as it can be

    return {
        "forward": forward,
        "maps": partial(WholeMaps(model).of, images, classes),
        "maps and saliency": partial(WholeMaps(model, saliency=True, saliency_scale=0.25).of, images, classes),
        "maps and saliency at full size": partial(WholeMaps(model, saliency=True).of, images, classes),
    }


def _step_tasks(backbone: str, images: Tensor) -> dict[str, Callable[[], object]]:
    size = (images.shape[-2], images.shape[-1])
    network = build_classifier(backbone, _CLASSES, image_size=size, architecture="large_fov").to(images.device).train()
    masks = (torch.rand(len(images), *size, device=images.device) > 0.8).float()
    places = torch.arange(len(images), device=images.device)
    batch = Batch(images, places % _CLASSES, BatchMarks(places, places % _CLASSES, masks))
    part = SEC()

    def sec() -> None:
        _step(network, part(network, batch).loss)

    def cross_entropy() -> None:
        with record(network, ["scores"]) as features:
            network(images)
        scores = background_and_classes(features["scores"]).log()
        _step(network, F.nll_loss(scores, torch.zeros_like(scores[:, 0], dtype=torch.long)))

    return {"cross-entropy step": cross_entropy, "SEC step": sec}


def _step(network: nn.Module, loss: Tensor) -> None:
    network.zero_grad()
    loss.backward()


def _crf_tasks(size: tuple[int, int], scale: float, device: torch.device) -> dict[str, Callable[[], object]]:
    import pydensecrf.densecrf as densecrf
    from sklearn.datasets import load_sample_image

    picture = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None].float()
    image = F.interpolate(picture, size, mode="bilinear", antialias=True).round().to(device)
    scores = F.interpolate(torch.randn(1, 21, 8, 8, device=device), size, mode="bilinear").mul(3).log_softmax(1)
    kernels = CRFKernels().scaled(scale)
    unary = np.ascontiguousarray(-scores[0].cpu().reshape(21, -1).numpy())
    colours = np.ascontiguousarray(image[0].cpu().permute(1, 2, 0).numpy().astype(np.uint8))

    def theirs() -> object:
        crf = densecrf.DenseCRF2D(size[1], size[0], 21)
        crf.setUnaryEnergy(unary)
        crf.addPairwiseBilateral(sxy=kernels.alpha, srgb=kernels.beta, rgbim=colours, compat=kernels.bilateral)
        crf.addPairwiseGaussian(sxy=kernels.gamma, compat=kernels.gaussian)
        return crf.inference(10)

    tasks: dict[str, Callable[[], object]] = {
        "pydensecrf2": theirs,
        "lattice": partial(dense_crf, scores, image, kernels, method="lattice"),
    }
    if size[0] * size[1] <= 4096:
        tasks["all pairs"] = partial(dense_crf, scores, image, kernels, method="exact")
    return tasks


if __name__ == "__main__":
    main()
