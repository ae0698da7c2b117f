"""The part of a network that makes its last map."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from looksharp.networks.backbones.memory_format import channels_last

__all__ = ["MapExtractor", "copied_in_its_modes", "extract"]

_Module = TypeVar("_Module", bound=nn.Module)


def extract(network: nn.Module, name: str) -> nn.Module:
    """Return a module that runs a network up to the module `name`, and returns {"maps": its output}.

    Raises:
        ValueError: if the network cannot be traced.
    """
    # Here, because they take seconds to load.
    from timm.models import get_notrace_functions, get_notrace_modules
    from torchvision.models.feature_extraction import create_feature_extractor

    opaque = {"leaf_modules": get_notrace_modules(), "autowrap_functions": [*get_notrace_functions(), channels_last]}
    try:
        found: nn.Module = create_feature_extractor(
            network, {name: "maps"}, tracer_kwargs=opaque, suppress_diff_warning=True
        )
    except Exception as error:  # torch.fx raises whatever the traced code does
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"backbone {type(network).__name__} cannot be cut by torch.fx: {reason}") from None
    return found


def copied_in_its_modes(module: _Module, memo: dict[int, object]) -> _Module:
    """Return a deep copy in the same mode, which torch.fx loses: it would classify by the batch's own statistics."""
    other = type(module).__new__(type(module))
    memo[id(module)] = other
    other.__dict__.update(copy.deepcopy(module.__dict__, memo))
    for name, each in module.named_modules():
        other.get_submodule(name).train(each.training)
    return other


class MapExtractor(nn.Module):
    """A network up to one of its modules, whose output (B, C, h, w) it returns.

    Args:
        network: the network.
        name: the module.
    """

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = extract(network, name)

    def __deepcopy__(self, memo: dict[int, object]) -> MapExtractor:
        """Return a copy in the same mode."""
        return copied_in_its_modes(self, memo)

    def forward(self, images: Tensor) -> Tensor:
        """Return the map."""
        maps: Tensor = self.network(images)["maps"]
        return maps
