"""Every mechanism that a peer has, beside that peer: one class of each image, at one layer or at the input.

All are told the layer and the classes, and each peer runs as many images at once as looksharp does. pytorch-grad-cam
and torch-cam resize and normalise their maps, as they do by default. Without an accelerator times are the processor's,
which other programs do not lengthen; run it with one thread then.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import pytorch_grad_cam as peers
import torch
import torchcam.methods as torchcam
from captum.attr import IntegratedGradients, LayerGradCam, NoiseTunnel, Occlusion, Saliency
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from benchmarks.network import random_network
from benchmarks.timing import add_options, chosen_device, hardware, measure
from looksharp import attend, last_stages

_CHUNK = 32
_SPELLED = {
    "finer_cam": "finer_cam",
    "occlusion": "occlusion:window=16,stride=8",
    "integrated_gradients": "integrated_gradients:steps=50",
    "smooth_grad": "smooth_grad:samples=25",
}

Tasks = Mapping[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=112, rounds=3)
    parser.set_defaults(backbones=["resnet18"], batch=2)
    parser.add_argument("--mechanisms", nargs="+", default=None, help="mechanisms to time; all if not given")
    parser.add_argument("--warmup", type=int, default=1, help="rounds before those that count")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")  # of the peers
    device = chosen_device(options)
    print(f"{hardware(device, 'grad-cam', 'torchcam', 'captum')}\n")
    for backbone in options.backbones:
        torch.manual_seed(0)
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        model = random_network(backbone, images, 1000).eval()
        inner, last = last_stages(model, images, 2)
        print(f"**{backbone}, batch {options.batch}, {options.size} px, {inner} and {last}**\n")
        print("| mechanism, layer | looksharp ms | peer | peer ms | peer / looksharp, median (quartiles) |")
        print("|---|---|---|---|---|")
        for name, layer, tasks in _cases(model, images, inner, last):
            if options.mechanisms is None or name in options.mechanisms:
                clock = time.perf_counter if device.type == "cuda" else time.process_time
                times = measure(tasks, options.rounds, device, options.warmup, clock)
                print("\n".join(rows(f"{name}, {layer}", times)), flush=True)
        print()


def rows(title: str, times: Mapping[str, Sequence[float]]) -> list[str]:
    """Return a row of the table for each peer."""
    ours = times["looksharp"]
    found = []
    for peer, theirs in list(times.items())[1:]:
        ratios = [t / o for t, o in zip(theirs, ours, strict=True)]
        low, ratio, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        mine, other = (1000 * statistics.median(each) for each in (ours, theirs))
        found.append(f"| {title} | {mine:.0f} | {peer} | {other:.0f} | {ratio:.2f} ({low:.2f} to {high:.2f}) |")
    return found


def _cases(model: nn.Module, images: Tensor, inner: str, last: str) -> list[tuple[str, str, Tasks]]:
    """Return (mechanism, layer, tool -> what to time)."""
    with torch.no_grad():
        classes = model(images).argmax(1)
    ours, of_captum = partial(_ours, model, images, classes), partial(_captum, model, images, classes)
    grad_cam = partial(_pytorch_grad_cam, model, images, classes)
    torch_cam = partial(_torch_cam, model, images, classes)
    names = {
        "grad_cam": ("GradCAM", "GradCAM"),
        "grad_cam_pp": ("GradCAMPlusPlus", "GradCAMpp"),
        "xgrad_cam": ("XGradCAM", "XGradCAM"),
        "layer_cam": ("LayerCAM", "LayerCAM"),
        "hires_cam": ("HiResCAM", None),
        "finer_cam": ("FinerCAM", "FinerCAM"),
        "eigen_cam": ("EigenCAM", None),
        "score_cam": ("ScoreCAM", "ScoreCAM"),
        "ablation_cam": ("AblationCAM", None),
    }
    found: list[tuple[str, str, Tasks]] = []
    for name, (theirs, other) in names.items():
        for layer in (last,) if name == "score_cam" else (inner, last):
            tasks: dict[str, Callable[[], object]] = {
                "looksharp": partial(ours, name, layer),
                "pytorch-grad-cam": partial(grad_cam, theirs, layer),
            }
            if other is not None:
                tasks["torch-cam"] = partial(torch_cam, other, layer)
            if name == "grad_cam":
                tasks["captum"] = partial(of_captum, "grad_cam", layer)
            found.append((name, layer, tasks))
    found.append(("cam", last, {"looksharp": partial(ours, "cam", last), "torch-cam": partial(torch_cam, "CAM", last)}))
    for name in ("occlusion", "integrated_gradients", "smooth_grad"):
        tasks = {
            "looksharp": partial(ours, name, None),
            "captum": partial(of_captum, name, ""),
            "captum and the logits": partial(_with_logits, model, images, partial(of_captum, name, "")),
        }
        found.append((name, "image", tasks))
    return found


@torch.no_grad()
def _logits(model: nn.Module, images: Tensor) -> Tensor:
    return model(images)


def _with_logits(model: nn.Module, images: Tensor, task: Callable[[], object]) -> tuple[object, Tensor]:
    """Run a peer, and the forward whose logits `attend` returns beside its maps."""
    return task(), _logits(model, images)


def _ours(model: nn.Module, images: Tensor, classes: Tensor, name: str, layer: str | None) -> object:
    layers = None if layer is None else [layer]
    return attend(model, images, classes, layers=layers, mechanism=_SPELLED.get(name, name))


def _pytorch_grad_cam(model: nn.Module, images: Tensor, classes: Tensor, name: str, layer: str) -> object:
    silence = contextlib.redirect_stderr(io.StringIO())  # of its progress bars
    with silence, getattr(peers, name)(model, [model.get_submodule(layer)]) as cam:
        cam.batch_size = _CHUNK
        # Finer-CAM finds the classes by itself, the highest-scoring ones.
        return cam(images, None if name == "FinerCAM" else [ClassifierOutputTarget(c) for c in classes.tolist()])


def _torch_cam(model: nn.Module, images: Tensor, classes: Tensor, name: str, layer: str) -> object:
    with getattr(torchcam, name)(model, layer) as cam:
        return cam(classes.tolist(), model(images))


def _captum(model: nn.Module, images: Tensor, classes: Tensor, name: str, layer: str) -> object:
    if name == "grad_cam":
        return LayerGradCam(model, model.get_submodule(layer)).attribute(images, classes, relu_attributions=True)
    if name == "occlusion":
        # One window of every image at a time would be 32 times as many forwards.
        return Occlusion(model).attribute(
            images, (3, 16, 16), (3, 8, 8), target=classes, perturbations_per_eval=_CHUNK // len(images)
        )
    if name == "integrated_gradients":
        return IntegratedGradients(model).attribute(images, target=classes, n_steps=50, internal_batch_size=_CHUNK)
    return NoiseTunnel(Saliency(model)).attribute(
        images,
        nt_type="smoothgrad",
        nt_samples=25,
        nt_samples_batch_size=max(_CHUNK // len(images), 1),
        stdevs=0.6,
        target=classes,
        abs=False,
    )


if __name__ == "__main__":
    main()
