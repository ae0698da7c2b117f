"""Architectures built around a backbone, and how each describes itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from looksharp.registry import Registry

__all__ = ["ARCHITECTURES", "BUILT_WITH", "Architecture", "Attending", "OwnMaps"]

BUILT_WITH = ("backbone", "image_size")
"""Arguments of an architecture that `build_classifier` gives; the others are its settings."""


class Architecture(nn.Module, ABC):
    """A classifier built around a backbone: `Architecture(backbone, image_size=..., ...)`.

    It is registered in `ARCHITECTURES`, and its signature without `BUILT_WITH` is its settings.

    Attributes:
        multilabel: True if an image may have several classes; `build_classifier` sets it.
        in_channels: channels of the images that the backbone takes.
        loss_parts: names of the parts of an objective, in `looksharp.PARTS`, that train its additions.
    """

    in_channels: ClassVar[int] = 3
    loss_parts: ClassVar[tuple[str, ...]] = ()
    multilabel: bool = False

    @classmethod
    def backbone_outputs(cls, classes: int, multilabel: bool, settings: Mapping[str, object]) -> int:
        """Return the number of outputs that the backbone needs; one per class by default.

        Args:
            classes: number of classes.
            multilabel: True if an image may have several.
            settings: the architecture's own.

        Raises:
            ValueError: if the settings do not suit such classes.
        """
        return classes

    @abstractmethod
    def added_parameters(self) -> list[nn.Parameter]:
        """Return the parameters added to the backbone, which learn as its classifier does (`head_parameters`)."""


class OwnMaps(NamedTuple):
    """Maps that a network made in its forward, at one layer.

    Attributes:
        maps: (B, K, h, w), as the network used them.
        shares: (B, K), share of each map's hypothesis in the output; None where there are no gates.
        per_class: True if map k belongs to class k.
    """

    maps: Tensor
    shares: Tensor | None = None
    per_class: bool = False


class Attending(Architecture, ABC):
    """An architecture whose own forward makes attention maps."""

    @abstractmethod
    def attention_layers(self) -> tuple[str, ...]:
        """Return the names of the layers, inside this module, to record for `own_maps`; none if no map is made."""

    @abstractmethod
    def own_maps(self, features: Mapping[str, Tensor]) -> dict[str, OwnMaps]:
        """Return the maps of one forward by their place, which is a layer of the backbone.

        Args:
            features: the outputs of `attention_layers`, by those names.
        """


ARCHITECTURES: Registry[type[Architecture]] = Registry("architecture", "looksharp.networks")
"""Everything that can be built around a backbone, by the name that settings use."""
