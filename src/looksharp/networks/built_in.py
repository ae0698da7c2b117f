"""Read the attention that a network has built in, from one forward and no backward."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from looksharp.attention.recording import logits_of, record, unwrapped
from looksharp.networks.attend_rectify import AttendAndRectify
from looksharp.networks.attention_branch import AttentionBranch

__all__ = ["BuiltInAttention", "built_in_attention", "has_built_in_attention"]


@dataclass(frozen=True)
class BuiltInAttention:
    """What `built_in_attention` found in one forward.

    Attributes:
        logits: (B, C).
        maps: place in the network -> maps (B, K, h, w), as the network used them.
        shares: place -> (B, K), the share of the output that each map's hypothesis has, where there are gates.
        per_class: whether map k belongs to class k (attention for several tasks).

    """

    logits: Tensor
    maps: dict[str, Tensor]
    shares: dict[str, Tensor] = field(default_factory=dict)
    per_class: bool = False


def has_built_in_attention(model: nn.Module) -> bool:
    """Whether a network's own forward makes attention maps."""
    return any(_makes_maps(module) for module in unwrapped(model).modules())


def built_in_attention(model: nn.Module, images: Tensor) -> BuiltInAttention:
    """The maps that a network made and used on the way to its logits.

    Of an attention branch its map (ABN Sec. 3.1: "can visualize an attention map for visual explanation in feed forward
    propagation"), or one for each task; of attention modules the masks of every head (WARN Fig. 6), by the layer they
    look at, the last layer first, with the share that head and global gates give them (Eq. 4 and 8).

    Args:
        model: a network around a backbone that has such attention.
        images: (B, 3, H, W), normalised as the model expects.

    Raises:
        ValueError: if the model has no attention of its own.

    Example:
        >>> import torch
        >>> from looksharp.networks import AttentionBranchNetwork, CifarResNet
        >>> network = AttentionBranchNetwork(CifarResNet(20, 10), image_size=32).eval()
        >>> built_in_attention(network, torch.rand(2, 3, 32, 32)).maps.keys()
        dict_keys(['layer3'])

    """
    network = unwrapped(model)
    branches = {name: module for name, module in network.named_modules() if isinstance(module, AttentionBranch)}
    rectified = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, AttendAndRectify) and _makes_maps(module)
    }
    layers = [_inside(name, "attention") for name in branches]
    for name, module in rectified.items():
        layers += [
            _inside(name, f"attention.{place}.{part}")
            for place in range(len(module.layers))
            for part in ("mask", "gate")
        ]
        layers += [_inside(name, "gate")] if module.mixed_by == "attention" else []
    if not layers:
        raise ValueError(
            f"mechanism 'built_in' needs a network with attention of its own, as --architecture attention_branch or "
            f"attend_rectify makes; {type(network).__name__} has none: take grad_cam"
        )
    with torch.no_grad(), record(model, layers) as features:
        logits = logits_of(model(images))
    maps = {
        name.removesuffix(".branch").removeprefix("backbone."): features[_inside(name, "attention")].detach()
        for name in branches
    }
    shares = {}
    for name, module in rectified.items():
        for place in reversed(range(len(module.layers))):
            layer = module.layers[place]
            maps[layer] = features[_inside(name, f"attention.{place}.mask")].detach()
            if module.mixed_by == "attention":
                heads, all_gates = (features[_inside(name, f"{at}gate")] for at in (f"attention.{place}.", ""))
                shares[layer] = (heads * all_gates[:, [place]]).detach().flatten(1)  # (B, K)
    return BuiltInAttention(logits.detach(), maps, shares, any(branch.multitask for branch in branches.values()))


def _makes_maps(module: nn.Module) -> bool:
    return isinstance(module, AttentionBranch) or (
        isinstance(module, AttendAndRectify) and module.mixed_by != "identity"
    )


def _inside(owner: str, name: str) -> str:
    return f"{owner}.{name}" if owner else name
