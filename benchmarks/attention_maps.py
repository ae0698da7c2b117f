"""Top-5 Grad-CAM maps of a batch, beside one plain forward, pytorch-grad-cam, torch-cam and captum.

All are told the layers. The peers take one class per image and call, and are told the classes as well; looksharp
finds them in its own forward. pytorch-grad-cam and captum run a forward for every class; pytorch-grad-cam resizes its
maps to the image and averages several layers' maps.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from captum.attr import LayerGradCam
from pytorch_grad_cam import GradCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn
from torchcam.methods import GradCAM as TorchCAM

from benchmarks.network import random_network
from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp import attend, last_stages

_TOP = 5
_TARGETS = {"looksharp": 1.25}

Maps = list[Tensor]  # one (B, 5, h, w) per layer


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=224, rounds=15)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the peers
    device = chosen_device(options)
    print(f"{hardware(device, 'timm', 'grad-cam', 'torchcam', 'captum')}\n")
    print(f"batch {options.batch}, {options.size} px, top {_TOP}, eval mode")
    for backbone in options.backbones:
        torch.manual_seed(0)
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        model = random_network(backbone, images, 1000).eval()
        stages = last_stages(model, images, 2)
        for layers in (stages[-1:], stages):
            tasks = _tasks(model, images, layers)
            print(f"\n**{backbone}, {' and '.join(layers)}**\n\n{_agreement(tasks, options.size)}\n")
            timed: dict[str, Callable[[], object]] = {"forward": partial(_forward, model, images), **tasks}
            if len(layers) == 1:
                timed["looksharp, layer not named"] = partial(attend, model, images, top=_TOP)
            timed = {name: task for name, task in timed.items() if name in ("forward", *(options.only or timed))}
            times = measure(timed, options.rounds, device, warmup=1)
            print(table(times, "forward", _TARGETS if len(layers) == 1 else None), flush=True)


@torch.no_grad()
def _forward(model: nn.Module, images: Tensor) -> Tensor:
    return model(images)


def _tasks(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Callable[[], Maps]]:
    modules = [model.get_submodule(layer) for layer in layers]
    top = _forward(model, images).topk(_TOP).indices  # (B, 5)

    def looksharp() -> Maps:
        return list(attend(model, images, top=_TOP, layers=layers).maps.values())

    def torch_cam() -> Maps:
        with TorchCAM(model, list(layers)) as cam:
            logits = model(images)
            maps = [cam(column, logits, normalized=False, retain_graph=True) for column in top.T.tolist()]
        return [torch.stack(layer, 1) for layer in zip(*maps, strict=True)]

    def captum() -> Maps:
        found = []
        for module in modules:
            explain = LayerGradCam(model, module)
            maps = [explain.attribute(images, column, relu_attributions=True).detach() for column in top.T]
            found.append(torch.cat(maps, 1))
        return found

    def grad_cam() -> Maps:
        with GradCAM(model, modules) as cam:
            maps = [cam(images, [ClassifierOutputTarget(c) for c in column]) for column in top.T.tolist()]
        return [torch.stack([torch.as_tensor(m) for m in maps], 1)]

    return {"looksharp": looksharp, "torch-cam": torch_cam, "captum": captum, "pytorch-grad-cam": grad_cam}


def _agreement(tasks: dict[str, Callable[[], Maps]], size: int) -> str:
    """Largest difference of each peer's maps to ours, as a share of the map's maximum."""
    maps = {name: [layer.cpu() for layer in task()] for name, task in tasks.items()}
    expected = {name: maps["looksharp"] for name in maps}
    expected["pytorch-grad-cam"] = [_as_pytorch_grad_cam(maps["looksharp"], size)]
    found = []
    for name in list(maps)[1:]:
        pairs = zip(maps[name], expected[name], strict=True)
        found.append(f"{name} {max(float((_unit(a) - _unit(b)).abs().max()) for a, b in pairs):.0e}")
    zero = sum(int((layer.amax((-2, -1)) == 0).sum()) for layer in maps["looksharp"])
    count = sum(layer[..., 0, 0].numel() for layer in maps["looksharp"])
    return f"Largest relative difference to looksharp's {count} maps ({zero} zero everywhere): {', '.join(found)}"


def _unit(maps: Tensor) -> Tensor:
    peak = maps.amax((-2, -1), keepdim=True)
    return maps / torch.where(peak > 0, peak, 1)


def _as_pytorch_grad_cam(layers: Maps, size: int) -> Tensor:
    """Our maps put through pytorch-grad-cam's normalising, resizing and averaging."""
    scaled = [scale_cam_image(layer.flatten(0, 1).numpy(), (size, size)) for layer in layers]
    mean = scale_cam_image(np.maximum(np.stack(scaled), 0).mean(0))
    return torch.as_tensor(mean).unflatten(0, layers[0].shape[:2])


if __name__ == "__main__":
    main()
