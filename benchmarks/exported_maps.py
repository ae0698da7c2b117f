"""Maps out of an exported network: what they cost under onnxruntime, and beside those of openvino_xai.

Image by image on one thread: the network alone, with the maps of its five highest-scoring classes by Grad-CAM and by
Recipro-CAM, and `attend` in torch. Times are the processor's, which other programs do not lengthen. openvino_xai needs
an older numpy, so it runs in an environment of its own (--openvino_python; `pip install openvino_xai` there). Its
Recipro-CAM, which does not smooth, is compared with the exported file's: it leaves out to subtract the score of no
position at all, a constant of each class, so each map's mean is taken off both.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from benchmarks.network import random_network
from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp import Pixels, adopt, attend, export

_PEER = Path(__file__).with_name("openvino_peer.py")
_CLASSES = 1000
_PLAIN = {"mechanism": "recipro_cam:gaussian=false", "signed": True}
"""Recipro-CAM as openvino_xai has it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=224, rounds=7)
    parser.add_argument("--openvino_python", default=None, help="python of an environment with openvino_xai")
    parser.set_defaults(batch=1, threads=1, device="cpu", backbones=["resnet18"])
    options = parser.parse_args()
    device = chosen_device(options)
    print(f"{hardware(device, 'onnxruntime', 'onnx')}\n")
    for backbone in options.backbones:
        torch.manual_seed(0)
        images = torch.randint(0, 256, (4, 3, options.size, options.size), dtype=torch.uint8)
        pixels = Pixels((options.size, options.size))
        model = random_network(backbone, pixels.normalize(images), _CLASSES).eval()
        with tempfile.TemporaryDirectory() as place:
            _compare(backbone, model, images, pixels, Path(place), options)


def _compare(
    backbone: str, model: nn.Module, images: Tensor, pixels: Pixels, place: Path, options: argparse.Namespace
) -> None:
    """Time one network's files, and print them."""
    run = adopt(model, classes=[str(label) for label in range(_CLASSES)], pixels=pixels, progress=False)
    normalized = pixels.normalize(images)
    one, first = images[:1].numpy(), normalized[:1].numpy()
    _write_plain(model, normalized, place / "plain.onnx")
    found = export(run, place / "chosen.onnx")
    export(run, place / "recipro.onnx", **_PLAIN)  # type: ignore[arg-type]
    plain, chosen, recipro = (_session(place / f"{name}.onnx") for name in ("plain", "chosen", "recipro"))
    tasks: dict[str, Callable[[], object]] = {
        "logits alone": lambda: plain.run(None, {"image": first}),
        f"maps {found.said['maps']}": lambda: chosen.run(None, {"image": one}),
        "the same by recipro_cam": lambda: recipro.run(None, {"image": one}),
        "attend in torch": lambda: attend(model, normalized[:1], top=5),
    }
    print(f"**{backbone}, one image at a time, {options.size} px**\n")
    times = measure(tasks, options.rounds, torch.device("cpu"), clock=time.process_time)
    print(table(times, "logits alone"), "\n")
    if options.openvino_python is not None:
        _, classes, maps = recipro.run(None, {"image": images.numpy()})
        np.savez(place / "seen.npz", images=normalized.numpy(), classes=classes, maps=maps)
        subprocess.run([options.openvino_python, _PEER, place, str(options.rounds)], check=True)


class _Named(nn.Module):
    """A network whose input is called image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.model(image)
        return logits


def _write_plain(model: nn.Module, images: Tensor, path: Path) -> None:
    """Write a network without maps or normalisation."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Named(model),
            (images,),
            str(path),
            dynamo=True,
            opset_version=20,
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            input_names=["image"],
            output_names=["logits"],
            external_data=False,
            verbose=False,
        )


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
