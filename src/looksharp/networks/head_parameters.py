"""Which parameters make a network's head: its classifier, and what was added around its backbone."""

from __future__ import annotations

from torch import nn

from looksharp.attention.recording import unwrapped
from looksharp.attention.wrapping import backbone_path
from looksharp.networks.attention_branch import AttentionBranch

__all__ = ["classifier_of", "head_parameters"]


def classifier_of(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Name and module of the classifier: the last linear layer, or convolution (SqueezeNet), of the backbone.

    The last as modules are registered, the order in which networks define their layers.

    Raises:
        ValueError: if there is no such layer.

    Example:
        >>> from looksharp.networks import CifarResNet
        >>> classifier_of(CifarResNet(20, 10))
        ('fc', Linear(in_features=64, out_features=10, bias=True))

    """
    path = backbone_path(network)
    prefix = f"{path}." if path else ""
    layers = [
        (f"{prefix}{name}", module)
        for name, module in network.get_submodule(path).named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    ]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no classifier: no linear layer and no convolution")
    return layers[-1]


def head_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Parameters of the classifier and of all that was added around the backbone, each once.

    Those that WARN trains ten times faster than a pre-trained backbone (Sec. 4.4: "the attention modules and the
    classifier"). In a network that wraps no other it is the classifier alone.

    Args:
        model: any classifier; wrappers for data parallelism and compilation are seen through.

    Raises:
        ValueError: if there is no classifier.

    """
    network = unwrapped(model)
    backbone = network.get_submodule(backbone_path(network))
    branches = [module for module in backbone.modules() if isinstance(module, AttentionBranch)]
    in_branches = {id(parameter) for branch in branches for parameter in branch.parameters()}
    inside = {id(parameter) for parameter in backbone.parameters()} - in_branches
    added = [parameter for parameter in network.parameters() if id(parameter) not in inside]
    return [*added, *classifier_of(network)[1].parameters()]
