"""Read the attention that a network has built in, from one forward and no backward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from looksharp.attention.recording import logits_of, look, unwrapped
from looksharp.networks.architecture import ARCHITECTURES, Attending, OwnMaps

__all__ = ["BuiltInAttention", "attention_sites", "built_in_attention", "has_built_in_attention", "own_maps_of"]


@dataclass(frozen=True)
class BuiltInAttention:
    """Maps that a network made in one forward, as `built_in_attention` reads them.

    Attributes:
        logits: (B, C).
        maps: place in the network -> maps (B, K, h, w), as the network used them.
        shares: place -> (B, K), share of each map's hypothesis in the output, where there are gates.
        per_class: True if map k belongs to class k (attention for several tasks).

    """

    logits: Tensor
    maps: dict[str, Tensor]
    shares: dict[str, Tensor] = field(default_factory=dict)
    per_class: bool = False


def has_built_in_attention(model: nn.Module) -> bool:
    """Return whether a network's own forward makes attention maps."""
    return bool(attention_sites(unwrapped(model)))


def built_in_attention(model: nn.Module, images: Tensor) -> BuiltInAttention:
    """Read the maps that a network made and used on the way to its logits.

    Each architecture says which maps it makes; see `Attending`. The model's buffers do not change.

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
    layers = attention_sites(network)
    if not layers:
        having = ", ".join(name for name, kind in ARCHITECTURES.items() if issubclass(kind, Attending))
        raise ValueError(
            f"mechanism 'built_in' needs a network with attention of its own, as one of --architecture {having} "
            f"makes; {type(network).__name__} has none: take grad_cam"
        )
    output, features = look(model, images, [full for names in layers.values() for full in names.values()])
    found = own_maps_of(network, {name: recorded.detach() for name, recorded in features.items()})
    return BuiltInAttention(
        logits_of(output).detach(),
        {place: own.maps for place, own in found.items()},
        {place: own.shares for place, own in found.items() if own.shares is not None},
        any(own.per_class for own in found.values()),
    )


def attention_sites(network: nn.Module) -> dict[str, dict[str, str]]:
    """Return for the path of each architecture with attention: layer inside it -> the layer's name in the network."""
    found = {}
    for path, module in network.named_modules():
        names = module.attention_layers() if isinstance(module, Attending) else ()
        if names:
            found[path] = {name: f"{path}.{name}".lstrip(".") for name in names}
    return found


def own_maps_of(network: nn.Module, outputs: Mapping[str, Tensor]) -> dict[str, OwnMaps]:
    """Return the maps of one forward by their place.

    Args:
        network: a network around a backbone that has attention of its own.
        outputs: the outputs of the layers in `attention_sites`, by their names in the network.
    """
    found: dict[str, OwnMaps] = {}
    for path, names in attention_sites(network).items():
        architecture = network.get_submodule(path)
        assert isinstance(architecture, Attending)
        found |= architecture.own_maps({inside: outputs[full] for inside, full in names.items()})
    return found
