"""What a training step of this library's networks costs with channels first and last in memory.

Their `forward` puts channels last on a processor; here the same network runs with and without.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn

from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp.networks.backbones.build import build_network
from looksharp.propagation.unet import SmallUNet

_SIZES = {"small": 48, "small_deep": 48, "clutter_cnn": 40, "SmallUNet": 48}  # others read images of CIFAR


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=32, rounds=15)
    networks = ["small", "small_deep", "clutter_cnn", "cifar_resnet20", "cifar_wrn16_4", "SmallUNet"]
    parser.set_defaults(batch=64, backbones=networks)
    options = parser.parse_args()
    device = chosen_device(options)
    print(f"{hardware(device)}\n\nbatch {options.batch}")
    for name in options.backbones:
        size = _SIZES.get(name, options.size)
        torch.manual_seed(0)
        network = SmallUNet() if name == "SmallUNet" else build_network(name, 10)
        network, images = network.to(device), torch.randn(options.batch, 3, size, size, device=device)
        tasks = {"channels first": partial(_first, network, images), "channels last": partial(_step, network, images)}
        times = measure(tasks, options.rounds, device)
        print(f"\n**{name}**\n\n{table(times, 'channels first')}", flush=True)


def _step(network: nn.Module, images: Tensor) -> None:
    network(images).logsumexp(1).mean().backward()


def _first(network: nn.Module, images: Tensor) -> None:
    with patch.object(sys.modules[type(network).__module__], "channels_last", lambda images: images):
        _step(network, images)


if __name__ == "__main__":
    main()
