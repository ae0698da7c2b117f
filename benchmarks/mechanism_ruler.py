"""Which mechanism finds a planted cue? The ruler of `looksharp mechanisms` on four networks that learned it.

Each network is trained shortly on `biased_digits`, with weights of its own, and all mechanisms are ranked on test
images with the cue: a CNN, a ConvNeXt, and a vision transformer that reads its class token or pools its patches.
Trained networks and what was measured are kept in --out; the same command goes on where it stopped.

    python -m benchmarks.mechanism_ruler --out runs/ruler
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn import functional as F

from looksharp import RulerSettings, rank_mechanisms
from looksharp.data.sampling import InOrder, Shuffled
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Data, Pixels, Split
from looksharp.experiments.provenance import commit, hardware
from looksharp.networks import SmallNet
from looksharp.ruler.results import Ranking, Standing

_SIZE = 48


def _vit(pool: str) -> nn.Module:
    shape: dict[str, Any] = {"img_size": _SIZE, "patch_size": 6, "embed_dim": 64, "depth": 4, "num_heads": 4}
    return timm.create_model("vit_tiny_patch16_224", num_classes=10, global_pool=pool, **shape)


def _convnext() -> nn.Module:
    """A ConvNeXt of four blocks for 48 px, normalised over the batch.

    LayerNorm scales each position to the same length, so that a small saturated patch stands out no more than what
    surrounds it: with it the same network learns the digits and leaves the cue aside. Kernels of 7 would span most of
    a map of 12 x 12.
    """
    shape: dict[str, Any] = {"depths": (1, 1, 1, 1), "dims": (32, 64, 64, 64), "kernel_sizes": 3, "output_stride": 8}
    net = timm.create_model(
        "convnext_atto", num_classes=10, norm_layer="batchnorm2d", ls_init_value=None, head_init_scale=1.0, **shape
    )
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):  # timm's 0.02 is too little for so short a training
            nn.init.kaiming_normal_(module.weight)
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small": lambda: SmallNet(10),
    "convnext": _convnext,
    "vit_token": lambda: _vit("token"),
    "vit_pooled": lambda: _vit("avg"),
}
"""Name -> the network; all for 10 classes of 48 px."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--only", nargs="+", default=None, help="mechanisms; all if not given")
    parser.add_argument("--rho", type=float, default=0.98)
    parser.add_argument("--train", type=int, default=4000, help="training images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=200, help="images to measure on")
    parser.add_argument("--perturbed", type=int, default=40, help="of these, for insertion, deletion, drop and ROAD")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ruler"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = biased_digits(rho=options.rho, train=options.train, val=1, test=1000, seed=options.seed)
    settings = RulerSettings(
        only=None if options.only is None else tuple(options.only),
        images=options.images,
        perturbed=options.perturbed,
        seed=options.seed,
        workers=0,
    )
    print(f"{hardware('cpu')}, commit {commit()}\n")
    for name in options.networks:
        net = trained(name, data, options)
        accuracy = ", ".join(f"{split} {_accuracy(net, each, data):.3f}" for split, each in data.tests.items())
        ranking = rank_mechanisms(net, data, settings, out=options.out / name)
        print(f"**{name}**: {accuracy}. {ranking.advice} {ranking.reason}\n\n{_table(ranking)}\n", flush=True)


def trained(name: str, data: Data, options: argparse.Namespace) -> nn.Module:
    """Return the network, trained now or earlier."""
    torch.manual_seed(options.seed)
    net, path = NETWORKS[name](), options.out / name / "weights.pt"
    if path.is_file():
        net.load_state_dict(torch.load(path, weights_only=True))
        return net.eval()
    _fit(net, data.splits["train"], data.pixels, options.epochs, options.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path)
    return net.eval()


def _fit(net: nn.Module, split: Split, pixels: Pixels, epochs: int, seed: int) -> None:
    batch = 64
    steps = epochs * (len(split) // batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / 50, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    order = Shuffled(len(split), batch, seed)
    net.train()
    for epoch in range(epochs):
        order.set_epoch(epoch)
        for each in split.loader(order, pixels, augment="crop", seed=seed):
            optimizer.zero_grad()
            F.cross_entropy(net(each.image), each.target).backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _accuracy(net: nn.Module, split: Split, data: Data) -> float:
    right = sum(
        int((net(batch.image).argmax(1) == batch.target).sum())
        for batch in split.loader(InOrder(len(split), 250), data.pixels)
    )
    return right / len(split)


def _table(ranking: Ranking) -> str:
    """Return the ranking as Markdown."""
    head = ["mechanism", "finds the cue", "energy", "covered", "insertion", "deletion", "ROAD", "random", "forwards"]
    rows = [head, ["---"] * len(head), *(_cells(each) for each in ranking.standings)]
    refused = [f"{name}: {reason}" for name, reason in ranking.refused.items()]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines + (["", "Refused: " + "; ".join(refused)] if refused else []))


def _cells(standing: Standing) -> list[str]:
    found = standing.scores["cue_found"]
    name = f"**{standing.name}**" if standing.as_good else standing.name
    rest = ("cue_energy", "cue_covered", "insertion", "deletion", "road", "randomised_rank")
    values = [f"{standing.scores[score].value:.2f}" if score in standing.scores else "–" for score in rest]
    return [name, f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})", *values, f"{standing.cost.total:.1f}"]


if __name__ == "__main__":
    main()
