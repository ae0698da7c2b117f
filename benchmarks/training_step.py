"""What a training step costs, forward and backward, beside a plain one.

"ICASC, straightforward" is what one writes without a library: a hook on each layer, and a backward per class from
the logits with `create_graph`, the last layer's gradient included.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import hardware, measure, table
from looksharp.batch import Batch
from looksharp.batch import Guidance as Pairs
from looksharp.losses import separation_and_consistency
from looksharp.objectives import GAIN, ICASC, Classification, Guidance, Objective

_CLASSES = 100


def straightforward_icasc(model: nn.Module, batch: Batch) -> Tensor:
    """ICASC by hooks and one backward per class."""
    features: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: features.update({name: out}))
        for name in ("layer3", "layer4")
    ]
    logits = model(batch.image)
    for hook in hooks:
        hook.remove()
    wrong = logits.detach().scatter(1, batch.target[:, None], -torch.inf).argmax(1)
    maps: dict[str, list[Tensor]] = {name: [] for name in features}
    for classes in (batch.target, wrong):
        score = logits.gather(1, classes[:, None]).sum()
        gradients = torch.autograd.grad(score, list(features.values()), create_graph=True)
        for (name, feature), gradient in zip(features.items(), gradients, strict=True):
            weights = gradient.relu().sum((2, 3), keepdim=True) / gradient[0, 0].numel()
            maps[name].append((weights * feature).sum(1).relu())
    terms = separation_and_consistency(torch.stack(maps["layer3"], 1), torch.stack(maps["layer4"], 1))
    return F.cross_entropy(logits, batch.target) + sum(term.mean() for term in terms.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "resnet50"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--profile", action="store_true", help="show where the time of an ICASC step goes")
    options = parser.parse_args()
    device = torch.device(options.device)
    print(f"{hardware(device)}; batch {options.batch}, {options.size} px")
    for backbone in options.backbones:
        torch.manual_seed(0)
        model = timm.create_model(backbone, num_classes=_CLASSES).to(device).train()
        tasks = _tasks(model, _batch(options.batch, options.size, device))
        if options.profile:
            _profile(tasks["ICASC"])
            continue
        print(f"\n**{backbone}**\n\n{table(measure(tasks, options.rounds, device), 'plain')}", flush=True)


def _batch(count: int, size: int, device: torch.device) -> Batch:
    """Random images; an eighth of them guided by a box."""
    guided = torch.arange(max(count // 8, 1))
    mask = torch.zeros(len(guided), size, size)
    mask[:, size // 4 : size // 2, size // 4 : size // 2] = 1
    target = torch.randint(0, _CLASSES, (count,))
    return Batch(torch.randn(count, 3, size, size), target, Pairs(guided, target[guided], mask)).to(device)


def _tasks(model: nn.Module, batch: Batch) -> dict[str, Callable[[], object]]:
    objectives: dict[str, Objective] = {
        "plain": Classification(),
        "ICASC": ICASC(),
        "ICASC, Grad-CAM": ICASC("grad_cam"),
        "ICASC, detach_weights": ICASC(detach_weights=True),
        "GAIN": GAIN(),
        "GAIN_ext, 1/8 guided": GAIN() + Guidance(),
        "guidance alone, squared_error": Classification() + Guidance(),
        "guidance alone, contrast": Classification() + Guidance("contrast"),
        "guidance alone, rrr": Classification() + Guidance("rrr"),
    }

    def step(loss: Callable[[], Tensor]) -> Callable[[], object]:
        def run() -> None:
            model.zero_grad()
            loss().backward()

        return run

    losses: dict[str, Callable[[], Tensor]] = {
        name: partial(_loss, objective, model, batch) for name, objective in objectives.items()
    }
    losses["ICASC, straightforward"] = partial(straightforward_icasc, model, batch)
    return {name: step(loss) for name, loss in losses.items()}


def _loss(objective: Objective, model: nn.Module, batch: Batch) -> Tensor:
    return objective(model, batch).loss


def _profile(task: Callable[[], object]) -> None:
    task()
    with torch.profiler.profile() as profile:
        task()
    print(profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=15, max_name_column_width=45))


if __name__ == "__main__":
    main()
