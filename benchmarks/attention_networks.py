"""What a forward costs in networks that attend by themselves, beside that of their backbone.

The row called as written is WARN with Eq. 2 and 3 in the paper's order: one convolution to the class scores of every
head at every position, then the sum under the masks.
"""

from __future__ import annotations

import argparse
import copy
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp import AttendAndRectify, AttentionBranchNetwork, build_network
from looksharp.networks.attention_module import AttentionModule

_CLASSES = 10
_TARGETS = {"WARN": 1.03}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=32, rounds=15)
    parser.set_defaults(backbones=["cifar_wrn28_10"])
    options = parser.parse_args()
    device = chosen_device(options)
    print(f"{hardware(device, 'timm')}\n\nbatch {options.batch}, {options.size} px, evaluation, no gradients")
    for backbone in options.backbones:
        torch.manual_seed(0)
        images = torch.randn(options.batch, 3, options.size, options.size, device=device)
        networks = _networks(backbone, images)
        print(f"\n**{backbone}**\n\n{_sizes(networks, images)}\n", flush=True)
        names = [name for name in networks if name in ("plain", *(options.only or networks))]
        times = measure({name: partial(_forward, networks[name], images) for name in names}, options.rounds, device)
        print(table(times, "plain", _TARGETS), flush=True)


def _networks(backbone: str, images: Tensor) -> dict[str, nn.Module]:
    """The backbone, and what was built around it, by the name of the row."""
    plain = build_network(backbone, _CLASSES).to(images.device).eval()
    warn = AttendAndRectify(plain, image_size=images.shape[-1]).eval()
    written = copy.deepcopy(warn)
    for place, module in enumerate(warn.attention):
        assert isinstance(module, AttentionModule)
        written.attention[place] = _AsWritten(module)
    difference = (_forward(warn, images) - _forward(written, images)).abs().max()
    assert difference < 1e-3, f"the two orders differ by {difference:.1e}"
    abn = AttentionBranchNetwork(copy.deepcopy(plain), image_size=images.shape[-1]).eval()
    return {"plain": plain, "WARN": warn, "WARN, as written": written, "ABN": abn}


class _AsWritten(nn.Module):
    """An attention module's numbers from a single convolution."""

    def __init__(self, module: AttentionModule) -> None:
        super().__init__()
        self.heads = len(module.hypothesis)
        self.weight = nn.Parameter(torch.cat([module.attend.weight, module.hypothesis.flatten(0, 1)]).detach())

    def forward(self, features: Tensor) -> Tensor:
        found = F.conv2d(features, self.weight, padding=1).flatten(2)  # (B, K + K (classes + 1), hw)
        masks = found[:, : self.heads].softmax(2)  # (B, K, hw)
        scores = found[:, self.heads :].unflatten(1, (self.heads, -1))  # (B, K, classes + 1, hw)
        read = torch.einsum("bkp,bkop->bko", masks, scores)
        return torch.einsum("bk,bko->bo", read[..., -1].tanh().softmax(1), read[..., :-1])


def _forward(network: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = network(images)
    return logits


def _sizes(networks: dict[str, nn.Module], images: Tensor) -> str:
    """Markdown: parameters and multiply-adds of one image."""
    lines = ["| | parameters, M | multiply-adds, G |", "|---|---|---|"]
    for name, network in networks.items():
        with FlopCounterMode(display=False) as counter:
            _forward(network, images[:1])
        parameters = sum(parameter.numel() for parameter in network.parameters())
        lines.append(f"| {name} | {parameters / 1e6:.2f} | {counter.get_total_flops() / 2e9:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
