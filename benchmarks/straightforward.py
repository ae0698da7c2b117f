"""ICASC as one writes it first, without the library's machinery: what that machinery is measured against."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from looksharp.batch import Batch
from looksharp.objectives.equations import separation_and_consistency

__all__ = ["straightforward_icasc"]


def straightforward_icasc(model: nn.Module, batch: Batch, layers: Iterable[str], *, whole: bool) -> Tensor:
    """ICASC's loss by hooks and `autograd.grad` with `create_graph`, class by class.

    No batching of classes, no knowledge of the last layer's gradient, no fast second derivative.

    Args:
        model: the network.
        batch: class indices as targets.
        layers: (inner, last).
        whole: a backward through the whole network for every class and layer, as `backward` makes it; or else one
            for every class that stops at the layers and serves both.
    """
    features: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out, name=name: features.update({name: out}))
        for name in layers
    ]
    logits = model(batch.image)
    for hook in hooks:
        hook.remove()
    wrong = logits.detach().scatter(1, batch.target[:, None], -torch.inf).argmax(1)
    maps: dict[str, list[Tensor]] = {name: [] for name in features}
    for classes in (batch.target, wrong):
        score = logits.gather(1, classes[:, None]).sum()
        if whole:
            parameters = list(model.parameters())
            gradients = [
                torch.autograd.grad(score, [feature, *parameters], create_graph=True)[0]
                for feature in features.values()
            ]
        else:
            gradients = list(torch.autograd.grad(score, list(features.values()), create_graph=True))
        for (name, feature), gradient in zip(features.items(), gradients, strict=True):
            weights = gradient.relu().sum((2, 3), keepdim=True) / gradient[0, 0].numel()
            maps[name].append((weights * feature).sum(1).relu())
    inner, last = (torch.stack(maps[name], 1) for name in layers)
    terms = separation_and_consistency(inner, last)
    return F.cross_entropy(logits, batch.target) + sum(term.mean() for term in terms.values())
