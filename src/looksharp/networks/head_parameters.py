"""The parameters of a network's head: its classifier, and all that was added to its backbone."""

from __future__ import annotations

from torch import nn

from looksharp.attention.recording import unwrapped
from looksharp.attention.wrapping import backbone_path
from looksharp.networks.architecture import Architecture

__all__ = ["classifier_of", "head_parameters"]


def classifier_of(network: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """Find the classifier's name and module: the backbone's last linear layer, or convolution (SqueezeNet).

    "Last" is by registration, the order in which networks define their layers.

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
    """Return the parameters of the classifier and of all that architectures added to the backbone, each once.

    WARN trains them ten times faster than a pre-trained backbone (Sec. 4.4: "the attention modules and the
    classifier"). In a network without an `Architecture` they are the classifier's alone.

    Args:
        model: any classifier; wrappers for data parallelism and compilation are unwrapped.

    Raises:
        ValueError: if there is no classifier.

    """
    network = unwrapped(model)
    built = [module for module in network.modules() if isinstance(module, Architecture)]
    added = [parameter for architecture in built for parameter in architecture.added_parameters()]
    return list(dict.fromkeys([*added, *classifier_of(network)[1].parameters()]))
