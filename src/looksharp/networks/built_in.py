"""Read the attention that a network has built in, from one forward and no backward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from looksharp.networks.attention_branch import AttentionBranch
from looksharp.recording import logits_of, record, unwrapped

__all__ = ["BuiltInAttention", "built_in_attention", "has_built_in_attention"]


@dataclass(frozen=True)
class BuiltInAttention:
    """What `built_in_attention` found in one forward.

    Attributes:
        logits: (B, C).
        maps: layer name -> maps (B, K, h, w), as the network used them.
        per_class: whether map k belongs to class k (attention for several tasks).

    """

    logits: Tensor
    maps: dict[str, Tensor]
    per_class: bool


def has_built_in_attention(model: nn.Module) -> bool:
    """Whether a network's own forward makes attention maps."""
    return bool(_layers(model))


@torch.no_grad()
def built_in_attention(model: nn.Module, images: Tensor) -> BuiltInAttention:
    """The maps that an attention branch made and used on the way to the logits.

    ABN Sec. 3.1: "can visualize an attention map for visual explanation in feed forward propagation".

    Args:
        model: a network that has an `AttentionBranch`.
        images: (B, 3, H, W), normalised as the model expects.

    Raises:
        ValueError: if the model has no attention of its own.

    Example:
        >>> from looksharp.networks import AttentionBranchNetwork, CifarResNet
        >>> network = AttentionBranchNetwork(CifarResNet(20, 10), image_size=32).eval()
        >>> built_in_attention(network, torch.rand(2, 3, 32, 32)).maps.keys()
        dict_keys(['backbone.layer3.branch.attention'])

    """
    layers = _layers(model)
    if not layers:
        raise ValueError(
            f"mechanism 'built_in' needs a network with attention of its own (--architecture attention_branch); "
            f"{type(unwrapped(model)).__name__} has none: take grad_cam"
        )
    with record(model, layers) as features:
        logits = logits_of(model(images))
    per_class = any(isinstance(m, AttentionBranch) and m.multitask for m in unwrapped(model).modules())
    return BuiltInAttention(logits.detach(), {name: features[name].detach() for name in layers}, per_class)


def _layers(model: nn.Module) -> tuple[str, ...]:
    modules = unwrapped(model).named_modules()
    return tuple(f"{name}.attention".lstrip(".") for name, module in modules if isinstance(module, AttentionBranch))
