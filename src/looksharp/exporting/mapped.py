"""Networks whose forward makes maps too, without a backward, so that a graph of it can be exported."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from looksharp.attention.attend import attend
from looksharp.attention.mechanisms import Mechanism, mechanism_name
from looksharp.data.pixels import Pixels

__all__ = ["ClassMaps", "Deployed", "MapFacts", "Mapped", "of_classes"]


@dataclass(frozen=True)
class MapFacts:
    """Facts of the maps in an exported file.

    Attributes:
        mechanism: spelling of what makes them.
        layers: the layers they are read from, or the places in the network where it made them.
        outputs: names of the outputs that follow logits and classes.
        of: "class" if map k belongs to class k of the output `classes`; "image" if they serve all classes.
        signed: True if values below 0 are evidence against a class.
    """

    mechanism: str
    layers: tuple[str, ...]
    outputs: tuple[str, ...]
    of: Literal["class", "image"] = "class"
    signed: bool = False


class Mapped(nn.Module, ABC):
    """A classifier in evaluation mode that also returns classes and maps.

    Attributes:
        facts: facts of the maps.
        ways: ways to compute them, of which `fitted` chooses the first that is right.
        way: the one that is chosen.
    """

    facts: MapFacts
    ways: tuple[str, ...] = ("",)
    way: str = ""

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits (B, C), the highest-scoring classes (B, K) and maps (B, ..., h, w) of normalised images."""

    @abstractmethod
    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the same by the functions that `explain` calls, with whose results an export is compared."""


class ClassMaps(Mapped, ABC):
    """A classifier that returns the maps of its highest-scoring classes at one layer.

    Args:
        network: the classifier.
        layer: name of the layer.
        mechanism: mechanism of the maps.
        top: number of classes.
        signed: keep values below 0.
    """

    def __init__(self, network: nn.Module, layer: str, mechanism: Mechanism, top: int, signed: bool) -> None:
        super().__init__()
        self.network, self.layer, self.mechanism, self.top = network, layer, mechanism, top
        name = mechanism_name(mechanism) or type(mechanism).__name__
        self.facts = MapFacts(name, (layer,), ("maps",), signed=signed)

    def expected(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the same from `attend`."""
        found = attend(
            self.network, images, top=self.top, layers=self.layer, mechanism=self.mechanism, signed=self.facts.signed
        )
        return found.logits, found.classes, found.maps[self.layer]

    def ended(self, maps: Tensor) -> Tensor:
        """Apply the ReLU that maps end in, unless they are to keep their sign."""
        return maps if self.facts.signed else maps.relu()


class Deployed(nn.Module):
    """A mapped classifier that takes pixels.

    Args:
        mapped: the classifier.
        pixels: the way from pixels to its input.
    """

    def __init__(self, mapped: Mapped, pixels: Pixels) -> None:
        super().__init__()
        self.mapped, self.pixels = mapped, pixels

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return logits, classes and maps of images (B, 3, H, W) of bytes."""
        found: tuple[Tensor, ...] = self.mapped(self.pixels.normalize(image))
        return found


def of_classes(values: Tensor, classes: Tensor) -> Tensor:
    """Return of values (B, C, h, w) those of classes (B, K), (B, K, h, w)."""
    return values.gather(1, classes[:, :, None, None].expand(-1, -1, *values.shape[2:]))
