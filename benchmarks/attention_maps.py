"""Top-5 Grad-CAM maps of a batch, beside one plain forward, pytorch-grad-cam, torch-cam and captum."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable

import timm
import torch
from torch import Tensor, nn

from benchmarks.timing import hardware, measure, table
from looksharp import attend

_TOP = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the peers
    device = torch.device(options.device)
    print(f"{hardware(device)}; batch {options.batch}, {options.size} px, top {_TOP}")
    for backbone in options.backbones:
        torch.manual_seed(0)
        model = timm.create_model(backbone).to(device).eval()
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        tasks = _tasks(model, images)
        print(f"\n**{backbone}**\n\n{_agreement(tasks)}\n")
        print(table(measure(tasks, options.rounds, device, warmup=1), "forward"), flush=True)


def _tasks(model: nn.Module, images: Tensor) -> dict[str, Callable[[], Tensor | None]]:
    from captum.attr import LayerGradCam
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    from torchcam.methods import GradCAM as TorchCAM

    layer = model.get_submodule("layer4")
    with torch.no_grad():
        top = model(images).topk(_TOP).indices  # (B, 5)

    def forward() -> None:
        with torch.no_grad():
            model(images)

    def looksharp() -> Tensor:
        return attend(model, images, top=_TOP, layers=["layer4"]).maps["layer4"]

    def two_layers() -> Tensor:
        return attend(model, images, top=_TOP, layers=["layer3", "layer4"]).maps["layer4"]

    def grad_cam() -> Tensor:
        with GradCAM(model, [layer]) as cam:  # one class an image and call; its maps come resized to the image
            maps = [cam(images, [ClassifierOutputTarget(c) for c in column]) for column in top.T.tolist()]
        return torch.stack([torch.as_tensor(m) for m in maps], 1)

    def torch_cam() -> Tensor:
        with TorchCAM(model, layer) as cam:
            logits = model(images)
            maps = [cam(column, logits, retain_graph=True)[0] for column in top.T.tolist()]
        return torch.stack(maps, 1)

    def captum() -> Tensor:
        explain = LayerGradCam(model, layer)
        return torch.cat([explain.attribute(images, column, relu_attributions=True) for column in top.T], 1).detach()

    return {
        "forward": forward,
        "looksharp": looksharp,
        "looksharp, two layers": two_layers,
        "torch-cam": torch_cam,
        "captum": captum,
        "pytorch-grad-cam": grad_cam,
    }


def _agreement(tasks: dict[str, Callable[[], Tensor | None]]) -> str:
    """Largest difference to looksharp's maps, each map brought to [0, 1], where sizes are the same."""
    ours = _unit(tasks["looksharp"]())
    lines = []
    for name in ("looksharp, two layers", "torch-cam", "captum"):
        lines.append(f"{name} {(_unit(tasks[name]()) - ours).abs().max():.1e}")
    return "Largest difference of maps: " + ", ".join(lines) + "; pytorch-grad-cam returns resized maps"


def _unit(maps: Tensor | None) -> Tensor:
    assert maps is not None
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low).clamp(min=1e-12)


if __name__ == "__main__":
    main()
