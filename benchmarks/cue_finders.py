"""Which mechanism should `suspects` attend by? How often the attended patch lies on a planted cue, on four networks.

The networks are those of `benchmarks.mechanism_ruler`, trained there or here. For each mechanism: the share of 200
training images with their own class's patch whose attended patch touches it, and of the images that `suspects`
chooses. A mechanism that has no meaning for a network is left out.

    python -m benchmarks.cue_finders --out runs/ruler
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.mechanism_ruler import NETWORKS, trained
from looksharp.data.sets.synthetic import biased_digits
from looksharp.data.split import Data, Split
from looksharp.experiments.provenance import commit, hardware
from looksharp.metrics.cue import cue_found
from looksharp.suspects import suspects
from looksharp.suspects.patches import attended_patches

MECHANISMS = ("grad_cam", "recipro_cam", "gradient_rollout", "legrad")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--mechanisms", nargs="+", default=list(MECHANISMS))
    parser.add_argument("--rho", type=float, default=0.98)
    parser.add_argument("--train", type=int, default=4000, help="training images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=200, help="images to attend to")
    parser.add_argument("-n", type=int, default=20, help="images to choose of these")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ruler"), help="as in benchmarks.mechanism_ruler")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = biased_digits(rho=options.rho, train=options.train, val=1, test=1000, seed=options.seed)
    searched = replace(data, splits={"train": _with_own_cue(data.splits["train"], options.images)})
    print(f"{hardware('cpu')}, commit {commit()}\n")
    print("| network | mechanism | attended patch on the cue | chosen on the cue |\n|---|---|---|---|")
    for name in options.networks:
        net = trained(name, data, options)
        for mechanism in options.mechanisms:
            try:
                attended, chosen = _on_cue(net, searched, mechanism, options.n)
            except ValueError:
                continue
            print(f"| {name} | `{mechanism}` | {attended:.2f} | {chosen:.2f} |", flush=True)


def _with_own_cue(split: Split, count: int) -> Split:
    """The first images whose patch has the colour of their class."""
    assert split.cues is not None
    own = (torch.tensor(split.cues.labels) == split.targets).nonzero().flatten()
    return split.taken(own[:count].tolist())


def _on_cue(net: nn.Module, data: Data, mechanism: str, n: int) -> tuple[float, float]:
    """Shares, of all attended patches and of the chosen ones, that touch the cue."""
    split = data.splits["train"]
    every = list(range(len(split)))
    found = attended_patches(net, split, data.pixels, every, mechanism=mechanism, progress=False)
    height, width = found.size
    patches = torch.zeros(len(found), height * width).scatter_(1, found.position.unsqueeze(1), 1.0)
    attended = cue_found(patches.view(-1, height, width), _cues(split, found.image.tolist()))
    chosen = suspects(net, data, n, mechanism=mechanism, progress=False).chosen
    marked = torch.stack([each.patch.float() for each in chosen])
    touching = cue_found(marked, _cues(split, [each.index for each in chosen]))
    return float(attended.sum()) / len(split), float(touching.mean())


def _cues(split: Split, places: Sequence[int]) -> Tensor:
    """Masks (n, H, W) of the cues of some images."""
    assert split.cues is not None
    return torch.stack([split.cues.of(place)[0][1] for place in places]).float()


if __name__ == "__main__":
    main()
