"""Which layers are found in every family of networks, and whether maps there are right.

Takes one small member of each module of timm, and one of each family of torchvision and of transformers' image
classifiers, with random weights (nothing is downloaded), and prints a row for each: the layers found, the map's size,
whether Grad-CAM there equals autograd's to 1e-4, whether a step of ICASC gives finite gradients, and how many patches
`suspects` finds; or the refusal.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.recording import logits_of, record
from looksharp.attention.stages import last_stages
from looksharp.data.split import Pixels
from looksharp.data.splits.memory import TensorSplit
from looksharp.objectives import ICASC
from looksharp.suspects.patches import attended_patches

CLASSES = 5
_SMALL = (
    *("test_", "atto", "femto", "pico", "nano", "xxs", "xx_small", "xs", "x_small", "tiny", "_mini", "_s0", "small"),
    *("_s_", "050", "18", "b0", "_0", "10", "_s", "lite"),
)
_TORCHVISION = (
    *("resnet18", "vgg11", "densenet121", "mobilenet_v3_small", "efficientnet_b0", "convnext_tiny", "swin_t"),
    *("swin_v2_t", "vit_b_32", "maxvit_t", "regnet_y_400mf", "shufflenet_v2_x0_5", "squeezenet1_0", "googlenet"),
)
_TRANSFORMERS = ("ViT", "DeiT", "BeiT", "Swin", "Swinv2", "ConvNext", "ConvNextV2", "ResNet", "MobileNetV2", "Dinov2")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="families whose names hold this")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore")
    print("| family | member | layers | map | Grad-CAM | ICASC | suspects |\n|---|---|---|---|---|---|---|")
    for family, name, build, size in _families():
        if options.only in f"{family} {name}":
            print(_row(family, name, build, size), flush=True)


def _families() -> Iterator[tuple[str, str, Callable[[], nn.Module], int]]:
    """Family, member, how it is built, and the side of its images."""
    import timm
    from timm.models._registry import _module_to_models

    for module, members in sorted(_module_to_models.items()):
        name = min(members, key=_smallness)
        config = timm.get_pretrained_cfg(name)
        size = config.input_size[-1] if config is not None else 224
        yield f"timm {module}", name, partial(timm.create_model, name, num_classes=CLASSES), size
    from torchvision import models

    for name in _TORCHVISION:
        more = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
        yield "torchvision", name, partial(models.get_model, name, num_classes=CLASSES, **more), 224
    import transformers

    for kind in _TRANSFORMERS:
        config = getattr(transformers, f"{kind}Config")(num_labels=CLASSES)
        model = getattr(transformers, f"{kind}ForImageClassification")
        yield "transformers", kind, partial(model, config), getattr(config, "image_size", 224) or 224


def _smallness(name: str) -> tuple[int, int, str]:
    rank = next((place for place, part in enumerate(_SMALL) if part in name), len(_SMALL))
    return rank, len(name), name


def _row(family: str, name: str, build: Callable[[], nn.Module], size: int) -> str:
    torch.manual_seed(0)
    images = torch.randn(2, 3, size, size)
    try:
        model = build().eval()
        layers = last_stages(model, images)
        found = attend(model, images, top=2)
        (layer,) = found.maps
        height, width = found.maps[layer].shape[-2:]
        cells = [
            ", ".join(layers),
            f"{height} x {width}",
            _agrees(model, images, layer, found.classes, found.maps[layer]),
        ]
        cells += [_trains(model, images), _patches(model, images)]
    except (ValueError, TypeError, RuntimeError, AttributeError, AssertionError) as error:
        lines = str(error).strip().splitlines() or [""]
        return f"| {family} | {name} | {type(error).__name__}: {re.sub('[|]', '/', lines[0])[:160]} | | | | |"
    return f"| {family} | {name} | {' | '.join(cells)} |"


def _agrees(model: nn.Module, images: Tensor, layer: str, classes: Tensor, maps: Tensor) -> str:
    """Grad-CAM by a plain backward a class, beside what `attend` gave."""
    with torch.enable_grad(), record(model, [layer]) as features:
        logits = logits_of(model(images))
        expected = []
        for place in range(classes.shape[1]):
            scores = logits.gather(1, classes[:, [place]]).sum()
            (gradient,) = torch.autograd.grad(scores, features[layer], retain_graph=True)
            expected.append((gradient.mean((2, 3), keepdim=True) * features[layer]).sum(1).relu())
    error = (torch.stack(expected, 1) - maps).abs().max() / maps.abs().max().clamp(min=1e-12)
    return "right" if error < 1e-4 else f"off by {error:.1g}"


def _trains(model: nn.Module, images: Tensor) -> str:
    step = ICASC()(model.train(), (images, torch.tensor([0, 1])))
    step.loss.backward()
    finite = all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    return "trains" if finite and bool(step.loss.isfinite()) else "not finite"


def _patches(model: nn.Module, images: Tensor) -> str:
    size = (images.shape[-2], images.shape[-1])
    split = TensorSplit(targets=torch.tensor([0, 1]), images=(images.clamp(-2, 2) * 60 + 128).byte())
    found = attended_patches(model.eval(), split, Pixels(size), [0, 1], progress=False)
    return f"{len(found.image)} patches"


if __name__ == "__main__":
    main()
