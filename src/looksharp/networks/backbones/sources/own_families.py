"""looksharp's own networks, by the patterns of their names."""

from __future__ import annotations

import re

from torch import nn

from looksharp.networks.backbones.families import FAMILIES, family_of, network_names
from looksharp.networks.backbones.source import NETWORK_SOURCES, Asked, Source

__all__ = ["OwnFamilies"]

_NONE_OF_ITS_OWN = 2  # logits of a network whose number is not known yet


class OwnFamilies(Source):
    """The families that are registered in `FAMILIES`; they have no published weights."""

    def build(self, name: str, asked: Asked) -> nn.Module:
        """Build a network of a family from the numbers in its name."""
        name = name.removeprefix("looksharp:")
        pattern = family_of(name)
        match = re.fullmatch(pattern, name) if pattern else None
        if pattern is None or match is None:
            raise ValueError(f"backbone {name!r} is none of looksharp's own; there are {', '.join(network_names())}")
        if asked.pretrained:
            raise ValueError(f"pretrained weights do not exist for {name!r}; pass pretrained=False")
        classes = _NONE_OF_ITS_OWN if asked.num_classes is None else asked.num_classes
        return FAMILIES[pattern].build(*map(int, match.groups()), num_classes=classes, in_channels=asked.in_channels)


NETWORK_SOURCES.add("looksharp", OwnFamilies())
