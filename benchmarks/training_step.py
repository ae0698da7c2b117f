"""What a training step costs, forward and backward without the optimizer, beside a plain one.

The rows called straightforward are ICASC as one writes it first; see `benchmarks/straightforward.py`.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.network import random_network
from benchmarks.straightforward import straightforward_icasc
from benchmarks.timing import add_options, chosen_device, hardware, measure, table
from looksharp import GAIN, ICASC, Batch, Classification, Guidance, Objective, last_stages
from looksharp.batch import BatchMarks

_CLASSES = 100
_TARGETS = {"resnet50": {"ICASC": 1.6, "GAIN": 2.3, "GAIN + guidance squared_error": 2.4}}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser, size=128, rounds=21)
    parser.add_argument("--compile", action="store_true", help="time a plain step of the compiled network too")
    parser.add_argument("--profile", action="store_true", help="show where the time of an ICASC step goes instead")
    options = parser.parse_args()
    device = chosen_device(options)
    print(f"{hardware(device, 'timm')}\n\nbatch {options.batch}, 1/8 guided, {options.size} px")
    for backbone in options.backbones:
        batch = _batch(options.batch, options.size, device)
        model = random_network(backbone, batch.image, _CLASSES)
        losses = _losses(model, batch)
        print(f"\n**{backbone}**\n\n{_agreement(model, losses)}\n", flush=True)
        if options.profile:
            print(_profile(model, losses, ("plain", "ICASC"), device))
            continue
        names = [name for name in losses if name in ("plain", *(options.only or losses))]
        tasks = {name: partial(_step, model, losses[name]) for name in names}
        if options.compile:
            copied = copy.deepcopy(model)
            copied.compile()
            tasks["plain, compiled"] = partial(_step, copied, partial(_loss, Classification(), copied, batch))
        times = measure(tasks, options.rounds, device)
        print(table(times, "plain", _TARGETS.get(backbone)), flush=True)


def _batch(count: int, size: int, device: torch.device) -> Batch:
    """Random images; an eighth of them guided by a box."""
    torch.manual_seed(0)
    guided = torch.arange(max(count // 8, 1))
    mask = torch.zeros(len(guided), size, size)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    target = torch.randint(0, _CLASSES, (count,))
    return Batch(torch.randn(count, 3, size, size), target, BatchMarks(guided, target[guided], mask)).to(device)


def _losses(model: nn.Module, batch: Batch) -> dict[str, Callable[[], Tensor]]:
    objectives: dict[str, Objective] = {
        "plain": Classification(),
        "ICASC": ICASC(),
        "ICASC, Grad-CAM": ICASC("grad_cam"),
        "ICASC, detach_weights": ICASC(detach_weights=True),
        "GAIN": GAIN(),
        "GAIN + guidance squared_error": GAIN() + Guidance(),
        "guidance squared_error": Classification() + Guidance(),
        "guidance energy": Classification() + Guidance("energy"),
        "guidance evidence": Classification() + Guidance("evidence"),
        "guidance contrast": Classification() + Guidance("contrast"),
        "guidance rrr": Classification() + Guidance("rrr"),
    }
    ours = {name: partial(_loss, objective, model, batch) for name, objective in objectives.items()}
    layers = last_stages(model, batch.image, 2)
    return {
        **ours,
        "ICASC, straightforward": partial(straightforward_icasc, model, batch, layers, whole=True),
        "ICASC, straightforward, to the layers": partial(straightforward_icasc, model, batch, layers, whole=False),
    }


def _loss(objective: Objective, model: nn.Module, batch: Batch) -> Tensor:
    return objective(model, batch).loss


def _step(model: nn.Module, loss: Callable[[], Tensor]) -> None:
    model.zero_grad()
    loss().backward()


def _agreement(model: nn.Module, losses: dict[str, Callable[[], Tensor]]) -> str:
    """How far the straightforward versions' gradients are from ours, as a share of what ICASC's terms add."""

    def gradient(name: str) -> Tensor:
        _step(model, losses[name])
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    ours = gradient("ICASC")
    added = (ours - gradient("plain")).norm()
    others = [float((gradient(name) - ours).norm() / added) for name in losses if "straightforward" in name]
    return f"Largest relative difference of the gradient of ICASC's terms: {max(others):.1e}"


def _profile(
    model: nn.Module, losses: dict[str, Callable[[], Tensor]], names: tuple[str, str], device: torch.device
) -> str:
    """Self time by operator, of both steps, the mean of some."""
    found: list[dict[str, tuple[float, int]]] = []
    steps = 5
    for name in names:
        _step(model, losses[name])
        with torch.profiler.profile() as profile:
            for _ in range(steps):
                _step(model, losses[name])
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        kind = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
        found.append({e.key: (getattr(e, kind) / steps / 1000, e.count // steps) for e in profile.key_averages()})
    plain, ours = found
    lines = [f"| operator, self ms (calls) | {names[0]} | {names[1]} | extra |", "|---|---|---|---|"]
    order = sorted(ours, key=lambda key: -ours[key][0])[:20]
    rows = {key: (plain.get(key, (0.0, 0)), ours[key]) for key in order}
    rows["all"] = ((sum(v for v, _ in plain.values()), 0), (sum(v for v, _ in ours.values()), 0))
    for key, ((before, calls), (after, more)) in rows.items():
        lines.append(f"| {key} | {before:.1f} ({calls}) | {after:.1f} ({more}) | {after - before:+.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
