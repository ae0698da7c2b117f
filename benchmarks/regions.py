"""How well do regions of evidence match a planted cue? By map, by occlusion, and as `looksharp suspects` finds them.

For each run, on training images whose cue is that of their class: how often the strongest evidence lies on the cue, the
share of the region in the cue, the share of the cue in the region, and the share of the object's mask in the region. A
map's region is where it exceeds half its maximum. The run's data must say where cues are (`biased_digits`, `compose`).

    python -m benchmarks.regions runs/plain --images 200
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import benchmarks.cue_sets  # noqa: F401 (runs may be of its data sets)
from looksharp.attention.attend import attend
from looksharp.attention.rerun import counting
from looksharp.attention.stages import last_stages
from looksharp.data.split import Pixels, Split
from looksharp.suspects.regions import find_regions, pixel_evidence
from looksharp.training.data import run_data
from looksharp.training.folder import load_run

_Finder = Callable[[nn.Module, Tensor, Tensor], tuple[Tensor, Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--batch_size", type=int, default=50)
    options = parser.parse_args()
    print("| run | finder | forwards | peak on cue | region in cue | cue in region | object in region |")
    print("|---|---|---|---|---|---|---|")
    for path in options.runs:
        run = load_run(path, device="cpu")
        data = run_data(run)
        images, classes, cues, objects = _read(data.splits["train"], run.pixels, options.images)
        parts = list(zip(images.split(options.batch_size), classes.split(options.batch_size), strict=True))
        right = torch.cat([run.model(each).argmax(1) == own for each, own in parts]).float().mean()
        print(f"| {path.name} | {len(images)} images, {right:.2f} right, the cue {cues.float().mean():.3f} | | | | | |")
        for name, finder in _finders(run.model, images).items():
            forwards = [0]
            with counting(partial(_add, forwards)):
                found = [finder(run.model, each, own) for each, own in parts]
            evidence, regions = (torch.cat(each) for each in zip(*found, strict=True))
            cost = _OF_MAPS.get(name, round(forwards[0] / len(images)))
            print(f"| | {name} | {cost} | {_scores(evidence, regions, cues, objects)} |", flush=True)


def _add(total: list[int], forwards: int) -> None:
    total[0] += forwards


def _read(split: Split, pixels: Pixels, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images, classes, cues and objects (N, H, W) of images spread over those whose cue is of their class."""
    assert split.cues is not None
    assert split.marks is not None
    agreeing = [n for n in split.cues.images if split.cues.of(n)[0][0] == int(split.targets[n])]
    chosen = [agreeing[int(n)] for n in torch.linspace(0, len(agreeing) - 1, min(count, len(agreeing)))]
    (batch,) = split.loader([chosen], pixels)
    cues, objects = (torch.stack([marks.of(n)[0][1].bool() for n in chosen]) for marks in (split.cues, split.marks))
    return batch.image, split.targets[chosen], cues, objects


_OF_MAPS = {"Grad-CAM, last stage": 1, "HiResCAM, first stage": 3, "Grad-CAM, first stage": 3}


def _finders(model: nn.Module, images: Tensor) -> dict[str, _Finder]:
    first, *_, last = last_stages(model, images[:2], count=3)
    side = min(images.shape[-2:])
    return {
        "Grad-CAM, last stage": partial(_by_map, layers=[last], mechanism="grad_cam"),
        "Grad-CAM, first stage": partial(_by_map, layers=[first], mechanism="grad_cam"),
        "HiResCAM, first stage": partial(_by_map, layers=[first], mechanism="hires_cam"),
        f"occlusion, {side // 6} px": partial(_by_map, mechanism=f"occlusion:window={side // 6},stride={side // 12}"),
        "regions of suspects": _of_suspects,
    }


def _by_map(
    model: nn.Module, images: Tensor, classes: Tensor, mechanism: str, layers: list[str] | None = None
) -> tuple[Tensor, Tensor]:
    (maps,) = attend(model, images, classes, layers=layers, mechanism=mechanism).maps.values()
    evidence = F.interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    peak = evidence.amax((-2, -1), keepdim=True)
    return evidence, (evidence > peak / 2) & (peak > 0)


def _of_suspects(model: nn.Module, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    evidence = pixel_evidence(model, images, classes)
    with counting(lambda forwards: None):  # the same evidence once more
        return evidence, find_regions(model, images, classes)


def _scores(evidence: Tensor, regions: Tensor, cues: Tensor, objects: Tensor) -> str:
    found = regions.flatten(1).any(1)
    peaks = evidence.flatten(1).argmax(1, keepdim=True)
    hit = cues.flatten(1).gather(1, peaks)[:, 0].float()
    both = (regions & cues).flatten(1).sum(1)
    shares = (
        hit,
        both / regions.flatten(1).sum(1).clamp(min=1),
        both / cues.flatten(1).sum(1),
        (regions & objects).flatten(1).sum(1) / objects.flatten(1).sum(1).clamp(min=1),
    )
    return " | ".join(f"{share[found].mean():.2f}" for share in shares)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
